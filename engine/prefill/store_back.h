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

namespace droidspeak {

struct StoreBackOptions {
  NamespaceHandle ns;              // of the model that computes
  std::vector<int64_t> kv_layers;  // what is offered, ascending
  std::vector<int64_t> e_layers;
  int64_t first_row = 0;                  // rows before it are stored already; a multiple of the block
  int64_t max_staging_bytes = 512 << 20;  // at least one block is staged
};

// The sink of one sequence's exact tensors. Full blocks of what servers want are copied into registered memory and
// sent; a block may fill up over many calls (decoding). Trouble with the servers never fails the forward: it ends the
// storing, and Finish says so. Not thread-safe: called on the thread of the forward.
class StoreBack : public CaptureSink {
 public:
  // Offers the full blocks of `tokens` (the whole sequence from row 0, known so far).
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<StoreBack>> Start(RemoteCache& cache, const ModelConfig& config,
                                                                        absl::Span<const int32_t> tokens,
                                                                        StoreBackOptions options);
  ~StoreBack() override;

  // Blocks that memory is there for at a time: those that are not sent wholly, and whose sending is not over.
  [[nodiscard]] int64_t units() const { return static_cast<int64_t>(staging_.region().bytes()) / unit_.unit_bytes(); }

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
  struct Block;  // one full or growing block of the sequence
  struct Offer {
    std::unique_ptr<Store> store;
    int64_t first_block = 0;
  };

  StoreBack(RemoteCache& cache, ExtentUnit unit, Staging staging, StoreBackOptions options);

  void OfferNewBlocks();
  [[nodiscard]] bool Wants(const Block& block, int64_t index) const;
  [[nodiscard]] bool TakeUnit(Block& block);
  void FreeUnits();
  void Send(int64_t layer, const std::vector<int64_t>& blocks);
  void Fail(const absl::Status& status);
  [[nodiscard]] std::byte* Memory(int64_t unit) const;

  RemoteCache& cache_;
  const ExtentUnit unit_;
  Staging staging_;
  const StoreBackOptions options_;
  const int64_t layers_to_send_;  // per block
  std::vector<int32_t> tokens_;
  std::vector<Digest> chain_;  // of the full blocks
  std::vector<Block> blocks_;  // by position in the chain, the last may be growing
  std::vector<Offer> offers_;
  std::vector<int64_t> free_units_;
  absl::Status status_;
};

}  // namespace droidspeak
