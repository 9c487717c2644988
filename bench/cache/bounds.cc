// SPDX-License-Identifier: Apache-2.0
#include "bench/cache/bounds.h"

#include "absl/time/clock.h"
#include "common/base/status.h"
#include "common/key/checksum.h"

namespace droidspeak::bench {
namespace {

// GB/s of hashing the data set, cold, on one core.
double HashSpeed(RawLoad& raw, const CacheShape& shape) {
  const absl::Time start = absl::Now();
  uint64_t sum = 0;
  for (uint64_t offset = 0; offset < shape.total_bytes(); offset += shape.extent_bytes) {
    sum += ExtentChecksum({}, {raw.arena().base() + offset, shape.extent_bytes});
  }
  const double seconds = absl::ToDoubleSeconds(absl::Now() - start);
  // Used, so that the loop stays.
  return sum == 0 ? 0 : static_cast<double>(shape.total_bytes()) / 1e9 / seconds;
}

}  // namespace

absl::StatusOr<std::unique_ptr<CacheBounds>> CacheBounds::Create(const std::string& transport,
                                                                 const CacheShape& shape) {
  ASSIGN_OR_RETURN(std::unique_ptr<RawLoad> raw,
                   RawLoad::Create(transport, {shape.layers, shape.blocks, shape.extent_bytes}));
  return std::unique_ptr<CacheBounds>(new CacheBounds(std::move(raw), shape));
}

absl::Status CacheBounds::Round(bool keep) {
  const double gigabytes = static_cast<double>(shape_.total_bytes()) / 1e9;
  ASSIGN_OR_RETURN(const RawTimes push, raw_->Run(RawDirection::kPush));
  ASSIGN_OR_RETURN(const RawTimes pull, raw_->Run(RawDirection::kPull));
  const double hash = HashSpeed(*raw_, shape_);
  if (!keep) return absl::OkStatus();
  push_.push_back(gigabytes / push.seconds);
  pull_.push_back(gigabytes / pull.seconds);
  hash_.push_back(hash);
  return absl::OkStatus();
}

void CacheBounds::Describe(Report& report) const {
  report.Result("raw push", "GB/s", push_);
  report.Result("raw pull", "GB/s", pull_);
  report.Result("XXH3, one core", "GB/s", hash_);
}

}  // namespace droidspeak::bench
