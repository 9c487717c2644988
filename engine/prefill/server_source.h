// SPDX-License-Identifier: Apache-2.0
// A context whose tensors come from cache servers: the receiver's own blocks first, then a sender's.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "absl/types/span.h"
#include "engine/prefill/context_source.h"
#include "engine/prefill/fetch_ring.h"
#include "engine/prefill/remote_cache.h"

namespace droidspeak {

struct ServerSourceOptions {
  absl::Span<const int32_t> tokens;       // of the context; its full blocks are looked up. Read by the constructor only
  std::optional<NamespaceHandle> own;     // the receiver's namespace; without it none of its blocks are used
  std::vector<int64_t> own_e_layers;      // own blocks without E of these count as missing (the model is a sender)
  std::optional<NamespaceHandle> sender;  // without it only own blocks are used
  // Leading rows that stand in the target's slots already, the receiver's own, exact in all layers; at most `tokens`.
  int64_t resident_tokens = 0;
  absl::Duration deadline = absl::Seconds(10);  // of each transfer; what has not arrived by then is lost
  // Staging of a request is at most this, or what its largest item needs.
  int64_t max_staging_bytes = 512 << 20;
};

[[nodiscard]] std::vector<int64_t> AllLayers(int64_t layers);

// The first block of `blocks` from `from` on that lacks any of these layers.
[[nodiscard]] int64_t EndOfCovered(absl::Span<const BlockCoverage> blocks, int64_t from,
                                   const std::vector<int64_t>& kv_layers, const std::vector<int64_t>& e_layers);

// Looks up coverage, then fetches in the order of use: own KV of recomputed layers, E, KV in layer order. An arrival
// pass verifies, rotates and places on all cores, in the thread of the forward, between its steps and where it waits.
// Not thread-safe.
class ServerSource : public ContextSource {
 public:
  ServerSource(RemoteCache& cache, ServerSourceOptions options);

  // Asks the servers what they have of what `plan` needs: tokens() and own_tokens() tell, before anything is moved.
  // Begin does so unless it has been done.
  void LookUp(const Plan& plan);

  // Never fails for the servers' reasons: what can't be had shows in tokens().
  absl::Status Begin(const Plan& plan, const ContextTarget& target) override;
  int64_t tokens() const override { return tokens_; }
  int64_t own_tokens() const override { return own_tokens_; }
  at::Tensor E(int64_t layer, int64_t row, int64_t max_rows) override;
  bool EArrived(int64_t layer, int64_t row) override;
  bool KvArrived() override;
  void EndRepair() override;
  void Poll() override;
  void Place(int64_t layer) override;
  void PlaceAll() override;
  SourceStats stats() const override;
  std::string loss() const override { return loss_; }

  // Tokens of the full blocks that were looked up: what the cache could have given at most.
  [[nodiscard]] int64_t offered_tokens() const { return offered_blocks_ * block_tokens_; }

 private:
  [[nodiscard]] std::vector<FetchItem> Items(const Plan& plan) const;
  [[nodiscard]] int NeededBlocks(int index) const;  // of the item, below tokens()
  void PlaceArrived();
  void PlaceUpTo(int last);  // waits for the KV items up to `last`, in order
  void PlaceItem(int index, int blocks);
  void FinishItem(int index, int good);
  void ReleaseDoneE();
  void Lose(const FetchItem& item, int good);

  RemoteCache& cache_;
  const ServerSourceOptions options_;
  const int64_t block_tokens_;
  const int64_t offered_blocks_;
  const int64_t resident_blocks_;
  std::vector<Digest> own_chain_, sender_chain_;
  ContextTarget target_;
  bool looked_up_ = false;
  int64_t tokens_ = 0;
  int64_t own_tokens_ = 0;
  std::string loss_;
  std::unique_ptr<FetchRing> ring_;  // null when there is nothing to fetch
  std::vector<char> done_;           // by item: KV placed or lost, E used up or lost
  std::vector<int> e_item_;          // by layer; -1 = none
  int used_up_e_ = -1;               // an item whose last rows are in use until the next call
};

}  // namespace droidspeak
