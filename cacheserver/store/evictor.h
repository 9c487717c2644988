// SPDX-License-Identifier: Apache-2.0
// Makes room: cold extents go from host memory to RocksDB, and from RocksDB for good.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/time/time.h"
#include "cacheserver/store/compactor.h"
#include "cacheserver/store/core.h"
#include "cacheserver/tiers/eviction_policy.h"

namespace droidspeak {

// The next victims of one tier, worth least first, from one look at the index: a share of the tier. It stays good while
// it lasts: what was used since is recognised by its recency and stays, and then so does all before it in its chain.
class EvictionPlan {
 public:
  explicit EvictionPlan(Tier tier) : tier_(tier) {}

  enum class Reach {
    kShare,       // the first of the victims: enough to go on with
    kAllVictims,  // all that may go
    kEverything,  // held or not: not to evict, but to have all in order
  };
  // Looks at the whole index. `demotes`: victims stay in the tier below. `tenant`: only what is its own; null: all.
  void Make(StoreCore& core, bool demotes, Reach reach, const TenantEntry* tenant);
  bool empty() const { return next_ == victims_.size(); }
  // There are more victims than it has.
  bool cut() const { return cut_; }
  void Clear() { next_ = victims_.size(); }
  // The next victim whose followers have all gone; nothing when there are no more.
  std::optional<EvictionCandidate> Next();
  // The one after those that Next() gave; null when there is none.
  const EvictionCandidate* Peek() const { return empty() ? nullptr : &victims_[next_]; }
  // The victim stays after all.
  void Keep(const EvictionCandidate& victim);
  const std::vector<EvictionCandidate>& victims() const { return victims_; }

 private:
  struct Run {
    BlockKey block;
    Kind kind;
    uint16_t group;
    friend bool operator==(const Run&, const Run&) = default;
    template <typename H>
    friend H AbslHashValue(H state, const Run& run) {
      return H::combine(std::move(state), run.block, run.kind, run.group);
    }
  };
  const Tier tier_;
  std::vector<EvictionCandidate> victims_;
  size_t next_ = 0;
  bool cut_ = false;
  absl::flat_hash_set<Run> blocked_;  // something that follows them stayed
};

// Used by the maintenance thread alone. Blocks on I/O.
class Evictor {
 public:
  Evictor(StoreCore* core, Compactor* compactor)
      : core_(core), compactor_(compactor), host_plan_(Tier::kHost), disk_plan_(Tier::kRocksdb) {}

  // Evicts from host memory until the tenant is within its quota and a slot of `bytes` is free; then its slot, else
  // null: nothing more can go. The slot counts as being filled.
  std::byte* AllocateEvicting(TenantEntry& tenant, uint64_t bytes);
  // Evicts from host memory what is the tenant's own until it has room for `bytes` and some more.
  void FreeHostOf(const TenantEntry& tenant, uint64_t bytes);
  // Evicts about `bytes` from host memory.
  void FreeHost(uint64_t bytes);

  // Writes what is only on host, of these layers of the block, to disk. The block is kept by the caller. Extents that
  // could not be written stay on host only; the status says why.
  absl::Status Spill(Block* block, const std::array<wire::LayerBits, 2>& layers);
  // Spills all there is, hottest chains first, from their first blocks on, as far as it fits.
  absl::Status SpillAll();

  // Deletes on disk what was removed from the index. UNAVAILABLE when something could not be deleted yet: after a
  // restart it would be there again.
  absl::Status ProcessRemovals();
  // Writes and removes the rows of operators' pins; what fails is tried again at the next call.
  absl::Status ProcessPins();

 private:
  struct TenantPlan {
    EvictionPlan plan;
    absl::Time pointless_until = absl::InfinitePast();  // nothing of the tenant's could go
  };

  // Makes a plan that is empty anew: first a share, then, where nothing of that could go, all. False: that was all.
  bool LookAgain(EvictionPlan& plan, bool demotes, const TenantEntry* tenant, int& looks);
  // The plan for a tier, of all or of a tenant.
  EvictionPlan& PlanOf(Tier tier, const TenantEntry* tenant);
  TenantPlan& TenantPlanOf(Tier tier, const TenantEntry& tenant);
  // Takes one victim off host memory, of all or of a tenant; the bytes freed, 0 when none could go.
  uint64_t EvictOneFromHost(const TenantEntry* tenant);
  uint64_t TakeOffHost(const EvictionCandidate& victim);
  bool EvictOneFromDisk(const TenantEntry* tenant);
  // Makes `bytes` fit in the budget on disk, and in the tenant's quota.
  absl::Status MakeRoomOnDisk(const TenantEntry& tenant, uint64_t bytes);
  struct SpillWork {
    std::vector<RocksdbTier::ExtentWrite> writes;
    uint64_t bytes = 0;
  };
  // What of these layers is on host only. False if the block was removed.
  bool CollectSpill(const Block& block, const std::array<wire::LayerBits, 2>& layers, SpillWork& work);
  // Of the block on disk, with what is about to be written.
  BlockRow RowWith(const Block& block, absl::Span<const RocksdbTier::ExtentWrite> writes);
  // Writes the block's extents in pieces of bounded size; marks what is on disk.
  absl::Status WriteSpill(Block* block, SpillWork& work);
  bool DiskWorks() const;
  absl::Status WriteNamespaceOnce(uint32_t namespace_id);

  StoreCore* const core_;
  Compactor* const compactor_;
  EvictionPlan host_plan_;
  EvictionPlan disk_plan_;
  // Of those that met their quota; a few victims each.
  std::array<absl::flat_hash_map<uint32_t, std::unique_ptr<TenantPlan>>, kTiers> tenant_plans_;
};

// The block's directory row, with what is on disk now. The block's shard is locked.
BlockRow RowOf(const Block& block);

}  // namespace droidspeak
