// SPDX-License-Identifier: Apache-2.0
// Which session, or the operator, has pinned which blocks.
#pragma once

#include <cstdint>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/types/span.h"
#include "cacheserver/store/core.h"

namespace droidspeak {

// Thread-safe. A block's own count of pins is the number of owners that have it here. All pins together keep at most a
// tenth of the store's capacity, those of a tenant a tenth of what its quotas leave it of that.
class PinTable {
 public:
  explicit PinTable(StoreCore* core) : core_(core) {}

  [[nodiscard]] absl::StatusOr<uint32_t> Pin(OwnerId owner, uint32_t tenant, uint32_t namespace_id,
                                             absl::Span<const Digest> blocks);
  uint32_t Unpin(OwnerId owner, uint32_t tenant, uint32_t namespace_id, absl::Span<const Digest> blocks);
  // The same for all blocks of a namespace.
  [[nodiscard]] absl::StatusOr<uint32_t> PinAll(OwnerId owner, uint32_t tenant, uint32_t namespace_id);
  uint32_t UnpinAll(OwnerId owner, uint32_t namespace_id);
  void DropOwner(OwnerId owner);
  bool Has(OwnerId owner, const BlockKey& block);
  // Removes blocks from the index, and from here.
  uint32_t Remove(uint32_t tenant, uint32_t namespace_id, absl::Span<const Digest> blocks);

  // At recovery: the operator's pin of an earlier run; false when its block is gone.
  bool Restore(const PinRow& row);

 private:
  struct Pinned {
    uint32_t namespace_id;
    uint64_t bytes;  // that it was counted with
  };
  using Pins = absl::flat_hash_map<BlockKey, Pinned>;

  uint64_t Capacity() const;
  uint64_t LimitOf(uint32_t tenant) const;
  absl::Status CheckLimits(uint32_t tenant) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Count(const BlockKey& key, int64_t bytes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void UnpinOne(const BlockKey& key, uint64_t bytes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  StoreCore* const core_;
  absl::Mutex mutex_;
  absl::flat_hash_map<OwnerId, Pins> owners_ ABSL_GUARDED_BY(mutex_);
  uint64_t pinned_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::flat_hash_map<uint32_t, uint64_t> tenant_bytes_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace droidspeak
