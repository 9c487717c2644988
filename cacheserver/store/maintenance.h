// SPDX-License-Identifier: Apache-2.0
// The store's background work, on one thread: eviction, spill, removal on disk, expiry, durable seals. All writes to
// RocksDB come from here, so that what is written and what is removed never cross.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "cacheserver/store/compactor.h"
#include "cacheserver/store/core.h"
#include "cacheserver/store/evictor.h"
#include "cacheserver/store/offers.h"
#include "common/base/thread.h"

namespace droidspeak {

// Thread-safe. Syncs and compactions run on threads of their own: fills that wait for room don't wait for them.
class Maintenance {
 public:
  Maintenance(StoreCore* core, OfferTable* offers);
  ~Maintenance() { (void)Stop(); }
  Maintenance(const Maintenance&) = delete;
  Maintenance& operator=(const Maintenance&) = delete;

  void Wake();
  // Later loads of the tenant's will want slots of this size.
  void WantRoom(TenantEntry& tenant, uint64_t bytes);
  // A slot of `bytes`, evicting, first what the tenant has beyond its quota; null when nothing can go.
  void Allocate(TenantEntry& tenant, uint64_t bytes, std::function<void(std::byte* slot)> done);
  // The offer has ended; releases it when its extents are on disk.
  void SealDurably(OfferPtr offer, ExtentStore::SealCallback done);
  // `done` when removals and operators' pins that were queued before the call are on disk.
  void SyncQueued(ExtentStore::SealCallback done);
  void Drain();
  // Fails what waits, spills all, syncs, joins the threads. Idempotent.
  absl::Status Stop();

 private:
  struct Allocation {
    TenantEntry* tenant;
    uint64_t bytes;
    std::function<void(std::byte*)> done;
  };
  struct DurableSeal {
    OfferPtr offer;  // null: only a sync is wanted
    ExtentStore::SealCallback done;
    absl::Status status;
  };
  struct Work {
    bool due = false;
    uint64_t room_bytes = 0;
    absl::flat_hash_map<TenantEntry*, uint64_t> tenant_room_bytes;  // for those at their quota
    uint64_t drains = 0;                                            // up to which Drain() it answers
    std::deque<Allocation> allocations;
    std::deque<DurableSeal> seals;
  };

  void Run();
  Work TakeWork();
  void Periodic();
  void ExpireBlocks();
  void RecoverDisk();
  void MakeRoomForLoads(uint64_t bytes);
  void SpillOffer(DurableSeal& seal);
  void SpillExtents(DurableSeal& seal);
  void RunSyncs();
  void Fail(Work& work);

  StoreCore* const core_;
  OfferTable* const offers_;
  Compactor compactor_;
  Evictor evictor_;                  // the maintenance thread's
  absl::Time room_pointless_until_;  // the maintenance thread's

  absl::Mutex mutex_;
  Work work_ ABSL_GUARDED_BY(mutex_);
  uint64_t drained_ ABSL_GUARDED_BY(mutex_) = 0;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<DurableSeal> syncs_ ABSL_GUARDED_BY(mutex_);
  bool syncing_ ABSL_GUARDED_BY(mutex_) = false;
  bool syncs_stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::unique_ptr<Thread> thread_;
  std::unique_ptr<Thread> sync_thread_;
};

}  // namespace droidspeak
