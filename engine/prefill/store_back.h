// SPDX-License-Identifier: Apache-2.0
// Storing a model's own tensors on the cache servers, layer by layer, as they are computed.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/prefill/capture.h"
#include "engine/prefill/remote_cache.h"
#include "engine/prefill/staging_slots.h"

namespace droidspeak {

struct StoreBackOptions {
  NamespaceHandle ns;              // of the model that computes
  std::vector<int64_t> kv_layers;  // what is offered, ascending
  std::vector<int64_t> e_layers;
  int64_t first_row = 0;                  // rows before it are stored already; a multiple of the block
  int64_t max_staging_bytes = 512 << 20;  // at least LeastStagingBytes()
};

// The sink of one sequence's exact tensors. What servers want of it is copied into registered memory and sent, layer by
// layer, as soon as a block's rows of a layer are there; a block may fill up over many calls (decoding). Trouble with
// the servers never fails the forward: it ends the storing, and Finish says so. Used by one thread.
class StoreBack : public CaptureSink {
 public:
  // Offers the full blocks of `tokens` (the whole sequence from row 0, known so far).
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<StoreBack>> Start(RemoteCache& cache, const ModelConfig& config,
                                                                        absl::Span<const int32_t> tokens,
                                                                        StoreBackOptions options);
  ~StoreBack() override;

  // Of a block of all layers: what a sequence takes that decoding makes longer.
  [[nodiscard]] static int64_t LeastStagingBytes(const ModelConfig& config, const StoreBackOptions& options);

  // False: something went wrong, and no more is stored.
  [[nodiscard]] bool ok() const { return status_.ok(); }

  // Whether the servers lack any of the blocks offered so far.
  [[nodiscard]] bool wants_any() const;

  // Tokens that follow in the sequence: called before their rows are computed. Offers blocks that became full.
  void Append(absl::Span<const int32_t> tokens);

  absl::Status OnLayer(const LayerKv& kv, int64_t row) override;

  // Waits until everything is stored; with `durable`, until it would survive power loss. The first trouble met.
  [[nodiscard]] absl::Status Finish(bool durable, absl::Time deadline);

 private:
  // A layer of one full or growing block.
  struct Place {
    int64_t rows = 0;   // leading ones copied
    int64_t slot = -1;  // while some are missing
  };
  struct Block {
    enum class State { kUnseen, kUnwanted, kWanted };
    State state = State::kUnseen;
    int64_t offer = -1;         // -1: not full yet, or no server was asked
    std::vector<Place> places;  // by layer, once it is wanted
  };
  struct Offer {
    std::unique_ptr<Store> store;
    int64_t first_block = 0;
  };

  StoreBack(RemoteCache& cache, StagingSlots slots, Staging staging, int64_t blocks, StoreBackOptions options);

  void OfferNewBlocks();
  [[nodiscard]] absl::Status OfferBlocks(int64_t begin, int64_t end);  // of the chain
  [[nodiscard]] bool Wants(const Block& block, int64_t index) const;
  // Whether rows of the block's layer, of those from `row` on, are to be copied: then it has a slot, for which what is
  // `complete` of the layer may have been sent.
  [[nodiscard]] bool TakesRows(int64_t index, int64_t layer, int64_t row, std::vector<int64_t>& complete);
  void FreeSlots();
  // Sends the layer of these blocks, whose slots are no longer theirs, and empties the list.
  void Send(int64_t layer, std::vector<int64_t>& blocks);
  void Fail(const absl::Status& status);

  RemoteCache& cache_;
  Staging staging_;
  StagingSlots slots_;  // of it
  const StoreBackOptions options_;
  const int64_t block_tokens_;
  std::vector<int32_t> tokens_;
  std::vector<Digest> chain_;  // of the full blocks
  std::vector<Block> blocks_;  // by position in the chain, the last may be growing
  std::vector<Offer> offers_;
  absl::Status status_;
};

}  // namespace droidspeak
