// SPDX-License-Identifier: Apache-2.0
// The metrics that the service keeps itself; those of the tiers come from the store when they are read.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "common/base/metrics.h"
#include "common/key/kind.h"

namespace droidspeak {

inline constexpr std::array<const char*, 3> kTierNames = {"gpu", "host", "rocksdb"};
inline constexpr std::array<const char*, 2> kKindNames = {"kv", "e"};

// Looked up once, at start. Thread-safe; outlived by the Metrics that it was made from.
class ServiceMetrics {
 public:
  explicit ServiceMetrics(Metrics& metrics);

  // Bytes pushed to clients, by the tier they came from. `transport` is its name.
  prometheus::Counter& FetchBytes(std::string_view transport, Kind kind, size_t tier);
  // A request refused, by why.
  void Rejected(absl::StatusCode code);
  // What transports hold now.
  void UpdateResources();

  prometheus::Histogram& fetch_seconds;
  prometheus::Counter& store_bytes;
  prometheus::Histogram& store_seconds;
  prometheus::Counter& coverage_hits;
  prometheus::Counter& coverage_misses;
  prometheus::Counter& fill_checksum_errors;
  prometheus::Gauge& sessions;
  prometheus::Gauge& inflight_bytes;

 private:
  Metrics& metrics_;
  // transport x kind x tier
  std::map<std::string, std::array<std::array<prometheus::Counter*, 3>, 2>, std::less<>> fetch_bytes_;
};

}  // namespace droidspeak
