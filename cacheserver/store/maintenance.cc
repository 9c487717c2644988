// SPDX-License-Identifier: Apache-2.0
#include "cacheserver/store/maintenance.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/log.h"
#include "common/base/steady_now.h"
#include "common/base/text.h"

namespace droidspeak {
namespace {

// How often expiry and a degraded tier are looked at.
constexpr absl::Duration kPeriod = absl::Seconds(1);
// After a look at the index found nothing to evict, loads use staging buffers for so long before the next look.
constexpr absl::Duration kPointless = absl::Milliseconds(20);

}  // namespace

Maintenance::Maintenance(StoreCore* core, OfferTable* offers)
    : core_(core),
      offers_(offers),
      compactor_(core),
      evictor_(core, &compactor_),
      room_pointless_until_(absl::InfinitePast()) {
  thread_ = std::make_unique<Thread>("store-upkeep", [this](const std::stop_token&) { Run(); });
  sync_thread_ = std::make_unique<Thread>("store-sync", [this](const std::stop_token&) { RunSyncs(); });
}

void Maintenance::Wake() {
  absl::MutexLock lock(&mutex_);
  work_.due = true;
}

void Maintenance::WantRoom(TenantEntry& tenant, uint64_t bytes) {
  absl::MutexLock lock(&mutex_);
  work_.due = true;
  uint64_t& wanted =
      tenant.HostHasRoom(SlabPool::SlotBytes(bytes)) ? work_.room_bytes : work_.tenant_room_bytes[&tenant];
  wanted = std::max(wanted, bytes);
}

void Maintenance::Allocate(TenantEntry& tenant, uint64_t bytes, std::function<void(std::byte*)> done) {
  {
    absl::MutexLock lock(&mutex_);
    if (!stopping_) {
      work_.due = true;
      work_.allocations.push_back({&tenant, bytes, std::move(done)});
      return;
    }
  }
  done(nullptr);
}

void Maintenance::SyncQueued(ExtentStore::SealCallback done) {
  SealDurably(nullptr, std::move(done));
}

void Maintenance::SealDurably(OfferPtr offer, ExtentStore::SealCallback done) {
  {
    absl::MutexLock lock(&mutex_);
    if (!stopping_) {
      work_.due = true;
      work_.seals.push_back({std::move(offer), std::move(done), absl::OkStatus()});
      return;
    }
  }
  if (offer != nullptr) offer->Release(*core_);
  done(absl::UnavailableError("the store is closing"));
}

void Maintenance::Drain() {
  {
    absl::MutexLock lock(&mutex_);
    if (stopping_) return;
    work_.due = true;
    const uint64_t mine = ++work_.drains;
    const auto done = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
      return stopping_ || (drained_ >= mine && syncs_.empty() && !syncing_);
    };
    mutex_.Await(absl::Condition(&done));
  }
  compactor_.Drain();
}

Maintenance::Work Maintenance::TakeWork() {
  absl::MutexLock lock(&mutex_);
  const auto due = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return work_.due || stopping_; };
  mutex_.AwaitWithTimeout(absl::Condition(&due), kPeriod);
  Work work = std::exchange(work_, {});
  work_.drains = work.drains;
  return work;
}

void Maintenance::Run() {
  absl::Time next_period = absl::InfinitePast();
  while (true) {
    Work work = TakeWork();
    bool stopping = false;
    bool draining = false;
    {
      absl::MutexLock lock(&mutex_);
      stopping = stopping_;
      draining = work.drains > drained_;
    }
    if (stopping) return Fail(work);
    absl::Status changes_written = evictor_.ProcessRemovals();
    changes_written.Update(evictor_.ProcessPins());
    if (draining || SteadyNow() >= next_period) {
      Periodic();
      next_period = SteadyNow() + kPeriod;
    }
    for (Allocation& allocation : work.allocations) {
      allocation.done(evictor_.AllocateEvicting(*allocation.tenant, allocation.bytes));
    }
    for (const auto& [tenant, bytes] : work.tenant_room_bytes) evictor_.FreeHostOf(*tenant, bytes);
    if (work.room_bytes > 0) MakeRoomForLoads(work.room_bytes);
    for (DurableSeal& seal : work.seals) {
      if (seal.offer == nullptr) seal.status = changes_written;
      SpillOffer(seal);
    }
    (void)evictor_.ProcessRemovals();
    absl::MutexLock lock(&mutex_);
    drained_ = std::max(drained_, work.drains);
  }
}

void Maintenance::Periodic() {
  offers_->ExpireDue();
  core_->index().Age();
  ExpireBlocks();
  (void)evictor_.ProcessRemovals();
  RecoverDisk();
}

void Maintenance::ExpireBlocks() {
  if (core_->WallSeconds() < core_->next_expiry()) return;
  core_->ResetNextExpiry();
  core_->index().ForEach([&](Index::Locked& shard, Block* block) {
    if (block->pins > 0) return;  // who takes the last pin away notes it
    if (!core_->Expired(*block)) return core_->NoteExpiry(block->expiry);
    core_->counters.expired.fetch_add(1);
    core_->Remove(shard, block);
  });
}

void Maintenance::RecoverDisk() {
  if (core_->disk() != nullptr) (void)core_->disk()->TryRecover();  // tried again in the next period
}

void Maintenance::MakeRoomForLoads(uint64_t bytes) {
  if (SteadyNow() < room_pointless_until_ || core_->pool().slots().CanAllocate(bytes)) return;
  evictor_.FreeHost(bytes);
  if (!core_->pool().slots().CanAllocate(bytes)) room_pointless_until_ = SteadyNow() + kPointless;
}

void Maintenance::SpillOffer(DurableSeal& seal) {
  if (seal.offer != nullptr) SpillExtents(seal);
  if (!seal.status.ok()) return seal.done(seal.status);
  absl::MutexLock lock(&mutex_);
  syncs_.push_back(std::move(seal));
}

void Maintenance::SpillExtents(DurableSeal& seal) {
  for (const Offer::Kept& kept : seal.offer->KeptExtents()) {
    const absl::Status spilled = evictor_.Spill(kept.block, kept.layers);
    if (absl::IsUnavailable(spilled)) seal.status = spilled;
    if (!seal.status.ok()) break;
    uint64_t lost = 0;
    uint64_t filling = 0;
    Index::Locked shard = core_->index().Lock(kept.block->key);
    for (Kind kind : kKinds) {
      ForEachLayer(kind, kept.layers[static_cast<size_t>(kind)], [&](ExtentSelector extent) {
        filling += kept.block->linked && kept.block->Has(ExtentState::kFilling, extent.kind, extent.layer) ? 1 : 0;
        lost += kept.block->linked && kept.block->Has(ExtentState::kDisk, extent.kind, extent.layer) ? 0 : 1;
      });
    }
    if (filling > 0) {
      seal.status = absl::UnavailableError(
          absl::StrCat("another is still filling ", filling, " extents of block ", kept.block->key.hash.Hex()));
    } else if (lost > 0) {
      seal.status = absl::ResourceExhaustedError(absl::StrCat(lost, " extents of block ", kept.block->key.hash.Hex(),
                                                              " could not be kept on disk", spilled.ok() ? "" : ": ",
                                                              spilled.message()));
    }
  }
  seal.offer->Release(*core_);
}

void Maintenance::RunSyncs() {
  while (true) {
    std::vector<DurableSeal> seals;
    {
      absl::MutexLock lock(&mutex_);
      syncing_ = false;
      const auto due = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return !syncs_.empty() || syncs_stopping_; };
      mutex_.Await(absl::Condition(&due));
      if (syncs_.empty()) return;
      seals.swap(syncs_);
      syncing_ = true;
    }
    // One flush for all that wait.
    const absl::Status synced = core_->disk()->Sync();
    for (DurableSeal& seal : seals) {
      seal.done(synced.ok() ? absl::OkStatus() : absl::UnavailableError(synced.message()));
    }
  }
}

void Maintenance::Fail(Work& work) {
  for (Allocation& allocation : work.allocations) allocation.done(nullptr);
  for (DurableSeal& seal : work.seals) {
    if (seal.offer != nullptr) seal.offer->Release(*core_);
    seal.done(absl::UnavailableError("the store is closing"));
  }
}

absl::Status Maintenance::Stop() {
  {
    absl::MutexLock lock(&mutex_);
    if (stopped_) return absl::OkStatus();
    stopped_ = true;
    stopping_ = true;
  }
  thread_->Stop();
  {
    absl::MutexLock lock(&mutex_);
    syncs_stopping_ = true;
  }
  sync_thread_->Stop();
  if (core_->disk() == nullptr) return absl::OkStatus();
  (void)evictor_.ProcessRemovals();
  const absl::Status pins_written = evictor_.ProcessPins();
  if (!pins_written.ok()) spdlog::error("pins could not be kept: {}", ToStd(pins_written.message()));
  const absl::Status spilled = evictor_.SpillAll();
  compactor_.Stop();
  const absl::Status synced = core_->disk()->Sync();
  return spilled.ok() ? synced : spilled;
}

}  // namespace droidspeak
