// SPDX-License-Identifier: Apache-2.0
// What bounds the cache's throughput, measured beside it: the transport alone, and the speed of checksums.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "bench/cache/load.h"
#include "bench/raw_load.h"
#include "bench/report.h"

namespace droidspeak::bench {

// Not thread-safe.
class CacheBounds {
 public:
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<CacheBounds>> Create(const std::string& transport,
                                                                           const CacheShape& shape);

  // Moves the data set's bytes once in each direction, and hashes them on one core. Notes the figures if `keep`.
  [[nodiscard]] absl::Status Round(bool keep);

  // Medians, in GB/s.
  double push() const { return Median(push_); }
  double pull() const { return Median(pull_); }
  // What a fetch can have at most when one core hashes while nothing else moves, and a store, which is hashed at both
  // ends: 1 / (1 / raw + N / hash).
  double fetch() const { return 1 / (1 / push() + 1 / Median(hash_)); }
  double store() const { return 1 / (1 / pull() + 2 / Median(hash_)); }
  const std::vector<double>& pushes() const { return push_; }
  const std::vector<double>& pulls() const { return pull_; }
  void Describe(Report& report) const;

 private:
  CacheBounds(std::unique_ptr<RawLoad> raw, const CacheShape& shape) : raw_(std::move(raw)), shape_(shape) {}

  const std::unique_ptr<RawLoad> raw_;
  const CacheShape shape_;
  std::vector<double> push_, pull_, hash_;
};

}  // namespace droidspeak::bench
