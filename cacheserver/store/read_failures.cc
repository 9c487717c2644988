// SPDX-License-Identifier: Apache-2.0
#include "cacheserver/store/read_failures.h"

#include <cstddef>

namespace droidspeak {
namespace {

// What could not be read for so long never will be. Longer than a disk or its controller takes to come back.
constexpr absl::Duration kPatience = absl::Seconds(60);
// Beyond these all are forgotten, which gives each its time anew.
constexpr size_t kMost = 65536;

}  // namespace

ReadFailures::Verdict ReadFailures::Note(const BlockKey& block, ExtentSelector extent, absl::Duration now) {
  absl::MutexLock lock(&mutex_);
  if (since_.size() >= kMost) since_.clear();
  const auto [at, added] = since_.try_emplace(Key{block, extent}, now);
  any_ = true;
  if (added) return Verdict::kNew;
  if (now - at->second < kPatience) return Verdict::kAgain;
  since_.erase(at);
  return Verdict::kLost;
}

void ReadFailures::Forget(const BlockKey& block, ExtentSelector extent) {
  if (!any_) return;
  absl::MutexLock lock(&mutex_);
  since_.erase(Key{block, extent});
  any_ = !since_.empty();
}

}  // namespace droidspeak
