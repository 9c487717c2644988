// SPDX-License-Identifier: Apache-2.0
// Which session has pinned which blocks.
#pragma once

#include <cstdint>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/types/span.h"
#include "cacheserver/store/core.h"

namespace droidspeak {

// Thread-safe. A block's own count of pins is the number of owners that have it here.
class PinTable {
 public:
  explicit PinTable(StoreCore* core) : core_(core) {}

  [[nodiscard]] absl::StatusOr<uint32_t> Pin(OwnerId owner, uint32_t tenant, uint32_t namespace_id,
                                             absl::Span<const Digest> blocks);
  uint32_t Unpin(OwnerId owner, uint32_t tenant, uint32_t namespace_id, absl::Span<const Digest> blocks);
  void DropOwner(OwnerId owner);
  // Removes blocks from the index, and from here.
  uint32_t Remove(uint32_t tenant, uint32_t namespace_id, absl::Span<const Digest> blocks);

 private:
  struct Pinned {
    uint32_t namespace_id;
    uint64_t bytes;  // that it was counted with
  };
  using Pins = absl::flat_hash_map<BlockKey, Pinned>;

  void UnpinOne(const BlockKey& key, uint64_t bytes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  StoreCore* const core_;
  absl::Mutex mutex_;
  absl::flat_hash_map<OwnerId, Pins> owners_ ABSL_GUARDED_BY(mutex_);
  uint64_t pinned_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace droidspeak
