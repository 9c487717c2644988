// SPDX-License-Identifier: Apache-2.0
// A bound on bytes a second.
#pragma once

#include <algorithm>
#include <cstdint>

#include "absl/time/time.h"

namespace droidspeak {

// Bytes may be taken while there is credit, also more than there is: the debt is waited for. Not thread-safe.
class TokenBucket {
 public:
  explicit TokenBucket(uint64_t bytes_per_second) : rate_(static_cast<double>(bytes_per_second)), credit_(Most()) {}

  bool HasCredit(absl::Time now) {
    credit_ = std::min(Most(), credit_ + rate_ * std::max(0.0, absl::ToDoubleSeconds(now - last_)));
    last_ = now;
    return credit_ > 0;
  }
  void Take(uint64_t bytes) { credit_ -= static_cast<double>(bytes); }

 private:
  // So much may come at once after a pause.
  double Most() const { return rate_ / 10; }

  const double rate_;
  double credit_;
  absl::Time last_ = absl::UnixEpoch();
};

}  // namespace droidspeak
