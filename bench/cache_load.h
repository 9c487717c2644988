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

// Figures of one fetch of everything.
struct FetchTimes {
  double seconds = 0;
  double first_layer_seconds = 0;
  double cpu_seconds = 0;  // of this process
};

// Not thread-safe.
class CacheLoad {
 public:
  // A layout whose KV extents have exactly `extent_bytes`: a power of two from 4 KiB to 16 MiB.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<CacheLoad>> Create(Client& client, const CacheShape& shape);

  // Stores everything under hashes that no earlier call used; seconds, hashing included.
  [[nodiscard]] absl::StatusOr<double> Store();
  // Fetches what the last Store() stored, layer by layer in layer order, and waits for each layer in turn (which
  // verifies its checksums unless the client does not). DATA_LOSS when something is missing.
  [[nodiscard]] absl::StatusOr<FetchTimes> Fetch();

  const CacheShape& shape() const { return shape_; }

 private:
  CacheLoad(Client& client, const CacheShape& shape, NamespaceHandle ns, std::unique_ptr<Region> region)
      : client_(client), shape_(shape), ns_(std::move(ns)), region_(std::move(region)) {}
  std::vector<TransferItem> Items() const;

  Client& client_;
  const CacheShape shape_;
  const NamespaceHandle ns_;
  const std::unique_ptr<Region> region_;
  std::vector<uint32_t> slots_;
  std::vector<Digest> hashes_;
  uint32_t generation_ = 0;
};

// CPU seconds that a process has used so far, of user and kernel; 0 for one that cannot be read.
double CpuSeconds(int pid);

}  // namespace droidspeak::bench
