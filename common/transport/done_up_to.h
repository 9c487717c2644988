// SPDX-License-Identifier: Apache-2.0
// Which of a series of numbered things have been done, when they end in any order.
#pragma once

#include <cstdint>

#include "absl/container/flat_hash_set.h"

namespace droidspeak {

// Not thread-safe.
class DoneUpTo {
 public:
  // `number` is done. False if it was before.
  [[nodiscard]] bool Add(uint64_t number) {
    if (number < below_ || !ahead_.insert(number).second) return false;
    while (!ahead_.empty() && ahead_.erase(below_) == 1) ++below_;
    return true;
  }
  // All numbers below this are done.
  uint64_t below() const { return below_; }
  // How many are done beyond a gap.
  size_t ahead() const { return ahead_.size(); }

 private:
  uint64_t below_ = 0;
  absl::flat_hash_set<uint64_t> ahead_;
};

}  // namespace droidspeak
