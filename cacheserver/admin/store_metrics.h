// SPDX-License-Identifier: Apache-2.0
// The metrics of the tiers, taken from the store whenever somebody asks.
#pragma once

#include <array>

#include "cacheserver/store.h"
#include "common/base/metrics.h"

namespace droidspeak {

// Update() belongs to one thread: the admin server's. The store and the Metrics outlive it.
class StoreMetrics {
 public:
  StoreMetrics(Metrics& metrics, const ExtentStore& store);

  void Update();

 private:
  // A counter that follows a total kept elsewhere.
  struct Followed {
    prometheus::Counter* counter = nullptr;
    uint64_t seen = 0;
    void Follow(uint64_t total);
  };

  Metrics& metrics_;
  const ExtentStore& store_;
  std::array<std::array<prometheus::Gauge*, 2>, kTiers> extents_;
  std::array<prometheus::Gauge*, kTiers> bytes_;
  std::array<prometheus::Gauge*, kTiers> capacity_;
  prometheus::Gauge& blocks_;
  prometheus::Gauge& degraded_;
  Followed host_to_rocksdb_;
  Followed host_to_gone_;
  Followed rocksdb_to_gone_;
  Followed checksum_errors_;
};

}  // namespace droidspeak
