// SPDX-License-Identifier: Apache-2.0
// What all parts of the store share: pool, index, tier on disk, counters, and the moves of an extent between states.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "cacheserver/index/index.h"
#include "cacheserver/store.h"
#include "cacheserver/store/namespaces.h"
#include "cacheserver/tiers/host_pool.h"
#include "cacheserver/tiers/rocksdb_tier.h"

namespace droidspeak {

// Extents that may be deleted on disk, unless the index says by then that they have been written anew.
struct DiskRemoval {
  BlockKey block;
  std::vector<ExtentSelector> extents;
};

// Thread-safe. Lock order: offer or pin table → index shard → leaves (pool, removals, counters). Functions that take a
// Locked shard are called with the block's shard locked.
class StoreCore {
 public:
  StoreCore(StoreOptions options, std::unique_ptr<HostPool> pool);
  ~StoreCore();

  const StoreOptions& options() const { return options_; }
  HostPool& pool() { return *pool_; }
  Index& index() { return index_; }
  TenantTable& tenants() { return tenants_; }
  NamespaceTable& namespaces() { return namespaces_; }
  RocksdbTier* disk() { return disk_.get(); }  // null without one
  void set_disk(std::unique_ptr<RocksdbTier> disk) { disk_ = std::move(disk); }

  absl::Duration Now() const { return options_.clock.steady(); }
  // For a use that happens now: see Index::NextTick.
  uint32_t NextTick() { return index_.NextTick(absl::ToInt64Milliseconds(Now() - steady_start_)); }
  // Unix seconds, by the wall clock of Open() and the steady clock since.
  uint32_t WallSeconds() const;
  uint32_t NewExpiry();
  // The earliest expiry that any block may have; blocks restored from disk are noted. The maintenance thread looks
  // through the index only when it has come.
  uint32_t next_expiry() const { return next_expiry_.load(std::memory_order_relaxed); }
  void NoteExpiry(uint32_t expiry);
  void ResetNextExpiry() { next_expiry_.store(UINT32_MAX, std::memory_order_relaxed); }
  // Past its time, and not pinned.
  bool Expired(const Block& block) const;
  // Whether `block` is not null, of this namespace and not expired.
  bool IsLive(const Block* block, uint32_t namespace_id) const {
    return block != nullptr && block->namespace_id == namespace_id && !Expired(*block);
  }
  // The block if it is linked and live, else null.
  Block* FindLive(const Index::Locked& shard, const BlockKey& key, uint32_t namespace_id) const;

  // Whether every extent is there, in some tier.
  bool HasAll(const Block& block, absl::Span<const ExtentSelector> extents) const;
  // Takes a reference on a block that HasAll(), and counts it into `acquired`.
  void Reference(Block* block, absl::Span<const ExtentSelector> extents, uint32_t tick, Acquired& acquired);

  // State moves; each keeps the counters. The first fill of an extent makes it ready on host, `slot` is the index's.
  void PutOnHost(Block* block, ExtentSelector extent, std::byte* slot, uint64_t checksum);
  void TakeOffHost(Block* block, ExtentSelector extent);  // frees the slot
  void PutOnDisk(Block* block, ExtentSelector extent);
  // All of a kind that a new block has, with one checksum a layer, ascending.
  void RestoreOnDisk(Block* block, Kind kind, const wire::LayerBits& layers, absl::Span<const uint64_t> checksums);
  void TakeOffDisk(Block* block, ExtentSelector extent);

  // Unlinks a block: its memory is freed now, or when its readers and offers are done; what it has on disk is queued
  // for removal.
  void Remove(Index::Locked& shard, Block* block);
  // Destroys the block if nothing keeps it. Use instead of Locked::Collect: frees its host slots.
  void Collect(Index::Locked& shard, Block* block);

  // For handles.
  void Release(std::vector<Block*>& blocks);
  absl::StatusOr<bool> Commit(FillSlot& slot, uint64_t checksum);
  void Abort(FillSlot& slot);
  static const std::vector<Block*>& BlocksOf(const References& references) { return references.blocks_; }

  // Pins that are to survive a restart, and such that are to go; the last word on a block counts. For the maintenance
  // thread, which puts back what it could not write.
  void QueuePin(const BlockKey& block, std::optional<uint32_t> namespace_id);
  RocksdbTier::PinChanges TakePins();
  void PutBackPins(const RocksdbTier::PinChanges& changes);

  void QueueRemoval(DiskRemoval removal);
  std::vector<DiskRemoval> TakeRemovals();
  // Those that could not be carried out; they are tried again in the next period.
  void PutBackRemovals(std::vector<DiskRemoval> removals);
  // Called (from any thread, locks held) when there is something for the maintenance thread.
  std::function<void()> wake_maintenance = [] {};

  StoreStats Stats() const;

  struct Counters {
    std::array<std::array<std::atomic<uint64_t>, 2>, kTiers> extents{};
    std::array<std::array<std::atomic<uint64_t>, 2>, kTiers> bytes{};
    std::atomic<uint64_t> host_to_rocksdb{0};
    std::atomic<uint64_t> host_to_gone{0};
    std::atomic<uint64_t> rocksdb_to_gone{0};
    std::atomic<uint64_t> expired{0};
    std::atomic<uint64_t> checksum_errors{0};
    std::atomic<uint64_t> queued_loads{0};
  };
  Counters counters;

  uint64_t ExtentBytes(const Block& block, Kind kind) const;
  // What was next to leave host memory when it was last looked at: its last use, interval, and whether it is one of a
  // crowd, from which follows what it is worth now. What is on disk comes up only if it is worth more.
  void SetHostFloor(uint32_t last_use, Interval interval, bool crowded) {
    host_floor_ = uint64_t{last_use} << 16 | uint64_t{crowded} << 8 | interval;
  }
  bool WorthPromoting(const Block& block, ExtentSelector extent) const;
  // Live bytes in RocksDB.
  uint64_t DiskLiveBytes() const;
  std::atomic<bool> closing{false};

 private:
  void Count(Tier tier, const Block& block, Kind kind, int64_t change);
  void FreeHostSlots(Block* block);

  const StoreOptions options_;
  const absl::Duration steady_start_;
  const absl::Time wall_start_;
  const std::unique_ptr<HostPool> pool_;
  TenantTable tenants_;
  NamespaceTable namespaces_;
  Index index_;
  std::unique_ptr<RocksdbTier> disk_;
  std::atomic<uint32_t> next_expiry_{UINT32_MAX};
  std::atomic<uint64_t> host_floor_{0};
  absl::Mutex removals_mutex_;
  std::vector<DiskRemoval> removals_ ABSL_GUARDED_BY(removals_mutex_);
  RocksdbTier::PinChanges pins_ ABSL_GUARDED_BY(removals_mutex_);
};

// Calls `visit(ExtentSelector)` for each layer in `bits`.
template <typename Visit>
void ForEachLayer(Kind kind, const wire::LayerBits& bits, Visit visit) {
  for (size_t word = 0; word < bits.size(); ++word) {
    for (uint64_t rest = bits[word]; rest != 0; rest &= rest - 1) {
      visit(ExtentSelector{kind, static_cast<uint16_t>(word * 64 + std::countr_zero(rest))});
    }
  }
}
inline constexpr std::array<Kind, 2> kKinds = {Kind::kKv, Kind::kE};

}  // namespace droidspeak
