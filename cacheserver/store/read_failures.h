// SPDX-License-Identifier: Apache-2.0
// Extents that can't be read from disk although others can: a bad sector, a lost file.
#pragma once

#include <atomic>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "cacheserver/index/block.h"
#include "cacheserver/store/handles.h"

namespace droidspeak {

// Tells a disk that fails for a while from an extent that is lost. Thread-safe.
class ReadFailures {
 public:
  enum class Verdict {
    kNew,    // this one could be read until now
    kAgain,  // for a while
    kLost,   // for too long: forgotten here
  };
  // A read failed at `now` of a clock that doesn't jump.
  [[nodiscard]] Verdict Note(const BlockKey& block, ExtentSelector extent, absl::Duration now);
  // It could be read.
  void Forget(const BlockKey& block, ExtentSelector extent);

 private:
  struct Key {
    BlockKey block;
    ExtentSelector extent;
    friend bool operator==(const Key&, const Key&) = default;
    template <typename H>
    friend H AbslHashValue(H hash, const Key& key) {
      return H::combine(std::move(hash), key.block, key.extent.kind, key.extent.layer);
    }
  };
  std::atomic<bool> any_{false};  // so that reads which succeed need no lock
  absl::Mutex mutex_;
  absl::flat_hash_map<Key, absl::Duration> since_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace droidspeak
