// SPDX-License-Identifier: Apache-2.0
// The data set of the cache benchmarks: blocks of a chain with KV of some layers, stored in a server and fetched again.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "droidspeak/client.h"

namespace droidspeak::bench {

struct CacheShape {
  int layers = 32;
  int blocks = 32;
  uint64_t extent_bytes = 1 << 20;
  uint64_t total_bytes() const { return static_cast<uint64_t>(layers) * blocks * extent_bytes; }
};

// Figures of one fetch.
struct FetchTimes {
  double seconds = 0;
  double first_layer_seconds = 0;
};

// Figures of one store: all of it, hashing included, the answer to its offer, and the answer to its seal once
// everything was filled.
struct StoreTimes {
  double seconds = 0;
  double offer_seconds = 0;
  double seal_seconds = 0;
};

// Not thread-safe.
class CacheLoad {
 public:
  // A layout whose KV extents have exactly `extent_bytes`: a power of two from 4 KiB to 16 MiB. Loads of one `family`
  // and shape mean the same by the number of a chain.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<CacheLoad>> Create(Client& client, const CacheShape& shape,
                                                                         uint32_t family = NewFamily());
  // One that nobody else has, nor had in an earlier run.
  static uint32_t NewFamily();

  // Which chain the calls below are about: 0 at first.
  void Choose(uint32_t chain);
  // Stores the chain.
  [[nodiscard]] absl::StatusOr<StoreTimes> Store();
  // Chooses one that this object has not stored yet, and stores it.
  [[nodiscard]] absl::StatusOr<StoreTimes> StoreNext();
  // Fetches the chain, layer by layer in layer order, and waits for each layer in turn (which verifies its checksums
  // unless the client does not). DATA_LOSS when something is missing.
  [[nodiscard]] absl::StatusOr<FetchTimes> Fetch(bool prefetch = false);
  // Fetches all layers of one block of it; seconds.
  [[nodiscard]] absl::StatusOr<double> FetchBlock(int block);

  const NamespaceHandle& ns() const { return ns_; }
  const std::vector<Digest>& hashes() const { return hashes_; }
  const CacheShape& shape() const { return shape_; }

 private:
  CacheLoad(Client& client, const CacheShape& shape, uint32_t family, NamespaceHandle ns,
            std::unique_ptr<Region> region)
      : client_(client), shape_(shape), family_(family), ns_(std::move(ns)), region_(std::move(region)) {}
  std::vector<TransferItem> Items() const;
  [[nodiscard]] absl::StatusOr<FetchTimes> Run(FetchOptions options);

  Client& client_;
  const CacheShape shape_;
  const uint32_t family_;
  const NamespaceHandle ns_;
  const std::unique_ptr<Region> region_;
  std::vector<uint32_t> slots_;
  std::vector<Digest> hashes_;
  uint32_t next_chain_ = 0;
};

}  // namespace droidspeak::bench
