// SPDX-License-Identifier: Apache-2.0
#include "cacheserver/store/core.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "cacheserver/store/offers.h"
#include "cacheserver/tiers/eviction_policy.h"
#include "common/base/check.h"

namespace droidspeak {
namespace {

uint32_t FirstLayer(const wire::LayerBits& layers) {
  uint32_t word = 0;
  while (layers[word] == 0) ++word;
  return word * 64 + std::countr_zero(layers[word]);
}

}  // namespace

StoreClock StoreClock::System() {
  return {[] { return absl::FromChrono(std::chrono::steady_clock::now().time_since_epoch()); },
          [] { return absl::Now(); }};
}

StoreCore::StoreCore(StoreOptions options, std::unique_ptr<HostPool> pool)
    : options_(std::move(options)),
      steady_start_(options_.clock.steady()),
      wall_start_(options_.clock.wall()),
      pool_(std::move(pool)),
      tenants_(options_.max_tenants, options_.quotas),
      namespaces_(&tenants_, options_.max_namespaces, pool_->max_extent_bytes()) {}

StoreCore::~StoreCore() = default;

uint32_t StoreCore::WallSeconds() const {
  return static_cast<uint32_t>(absl::ToUnixSeconds(wall_start_ + (Now() - steady_start_)));
}

uint32_t StoreCore::NewExpiry() {
  if (options_.default_ttl == absl::InfiniteDuration()) return 0;
  const int64_t seconds = WallSeconds() + absl::ToInt64Seconds(absl::Ceil(options_.default_ttl, absl::Seconds(1)));
  const auto expiry = static_cast<uint32_t>(std::min<int64_t>(seconds, UINT32_MAX));
  NoteExpiry(expiry);
  return expiry;
}

void StoreCore::NoteExpiry(uint32_t expiry) {
  if (expiry == 0) return;
  uint32_t next = next_expiry();
  while (expiry < next && !next_expiry_.compare_exchange_weak(next, expiry, std::memory_order_relaxed)) {
  }
}

bool StoreCore::Expired(const Block& block) const {
  return block.expiry != 0 && block.pins == 0 && block.expiry <= WallSeconds();
}

Block* StoreCore::FindLive(const Index::Locked& shard, const BlockKey& key, uint32_t namespace_id) const {
  Block* block = shard.Find(key);
  return IsLive(block, namespace_id) ? block : nullptr;
}

bool StoreCore::HasAll(const Block& block, absl::Span<const ExtentSelector> extents) const {
  return std::all_of(extents.begin(), extents.end(), [&](const ExtentSelector& extent) {
    return extent.layer < block.layers && block.Ready(extent.kind, extent.layer);
  });
}

void StoreCore::Reference(Block* block, absl::Span<const ExtentSelector> extents, uint32_t tick, Acquired& acquired) {
  ++block->references;
  const NamespaceEntry& space = *namespaces_.Find(block->namespace_id);
  for (const ExtentSelector& extent : extents) {
    block->Use(extent.kind, extent.layer / kGroupLayers, tick);
    const bool host = block->Has(ExtentState::kHost, extent.kind, extent.layer);
    const auto tier = static_cast<size_t>(host ? Tier::kHost : Tier::kRocksdb);
    acquired.tier_bytes[tier] += space.extent_bytes(extent.kind);
    ++acquired.tier_extents[tier];
  }
}

bool StoreCore::WorthPromoting(const Block& block, ExtentSelector extent) const {
  const uint64_t floor = host_floor_;
  const auto floor_interval = static_cast<Interval>(floor & 0xff);
  const auto floor_last_use = static_cast<uint32_t>(floor >> 16);
  const bool floor_crowded = ((floor >> 8) & 1) != 0;
  const Interval interval = block.interval(extent.kind, extent.layer / kGroupLayers);
  // What has just been used for the first time has no age to be judged by: it is as good as others of its sort.
  if (!IsKnown(interval)) return !IsKnown(floor_interval);
  const uint32_t now = index_.CurrentTick();
  const uint32_t floor_age = floor_last_use <= now ? now - floor_last_use : now;  // a tick from before Age()
  // Either way a read from disk is saved.
  const float floor_worth = Worth(0, floor_interval, floor_age) - (floor_crowded ? kCrowdPenalty : 0);
  return Worth(0, interval, 0) > floor_worth + kPromotionMargin;
}

uint64_t StoreCore::ExtentBytes(const Block& block, Kind kind) const {
  return namespaces_.Find(block.namespace_id)->extent_bytes(kind);
}

uint64_t StoreCore::DiskLiveBytes() const {
  const auto& bytes = counters.bytes[static_cast<size_t>(Tier::kRocksdb)];
  return bytes[0].load(std::memory_order_relaxed) + bytes[1].load(std::memory_order_relaxed);
}

void StoreCore::Count(Tier tier, const Block& block, Kind kind, int64_t change) {
  if (!block.linked) return;  // counted off when it was unlinked
  const auto t = static_cast<size_t>(tier);
  const auto k = static_cast<size_t>(kind);
  const NamespaceEntry* const space = namespaces_.Find(block.namespace_id);
  const int64_t bytes = change * static_cast<int64_t>(space->extent_bytes(kind));
  counters.extents[t][k].fetch_add(change, std::memory_order_relaxed);
  counters.bytes[t][k].fetch_add(bytes, std::memory_order_relaxed);
  space->tenant->bytes[t].fetch_add(change * static_cast<int64_t>(space->taken_bytes(tier, kind)),
                                    std::memory_order_relaxed);
}

void StoreCore::PutOnHost(Block* block, ExtentSelector extent, std::byte* slot, uint64_t checksum) {
  block->Set(ExtentState::kHost, extent.kind, extent.layer);
  *block->Find(extent.kind, extent.layer) = {slot, checksum};
  Count(Tier::kHost, *block, extent.kind, 1);
}

void StoreCore::TakeOffHost(Block* block, ExtentSelector extent) {
  Extent* entry = block->Find(extent.kind, extent.layer);
  pool_->slots().Free(std::exchange(entry->host, nullptr));
  block->Clear(ExtentState::kHost, extent.kind, extent.layer);
  Count(Tier::kHost, *block, extent.kind, -1);
}

void StoreCore::PutOnDisk(Block* block, ExtentSelector extent) {
  block->Set(ExtentState::kDisk, extent.kind, extent.layer);
  Count(Tier::kRocksdb, *block, extent.kind, 1);
}

void StoreCore::RestoreOnDisk(Block* block, Kind kind, const wire::LayerBits& layers,
                              absl::Span<const uint64_t> checksums) {
  if (checksums.empty()) return;
  block->Set(ExtentState::kDisk, kind, layers);
  Extent* const extents = block->Find(kind, FirstLayer(layers));
  for (size_t i = 0; i < checksums.size(); ++i) extents[i].checksum = checksums[i];
  Count(Tier::kRocksdb, *block, kind, static_cast<int64_t>(checksums.size()));
}

void StoreCore::TakeOffDisk(Block* block, ExtentSelector extent) {
  block->Clear(ExtentState::kDisk, extent.kind, extent.layer);
  Count(Tier::kRocksdb, *block, extent.kind, -1);
}

void StoreCore::Remove(Index::Locked& shard, Block* block) {
  DiskRemoval removal{block->key, {}};
  for (Kind kind : kKinds) {
    ForEachLayer(kind, block->Bits(ExtentState::kHost, kind),
                 [&](ExtentSelector extent) { Count(Tier::kHost, *block, extent.kind, -1); });
    ForEachLayer(kind, block->Bits(ExtentState::kDisk, kind), [&](ExtentSelector extent) {
      Count(Tier::kRocksdb, *block, extent.kind, -1);
      removal.extents.push_back(extent);
    });
  }
  if (!removal.extents.empty()) QueueRemoval(std::move(removal));
  block->pins = 0;
  shard.Unlink(block);
  Collect(shard, block);
}

void StoreCore::Collect(Index::Locked& shard, Block* block) {
  if (!block->linked && block->references == 0 && block->offers == 0) FreeHostSlots(block);
  shard.Collect(block);
}

void StoreCore::FreeHostSlots(Block* block) {
  for (Kind kind : kKinds) {
    ForEachLayer(kind, block->Bits(ExtentState::kHost, kind),
                 [&](ExtentSelector extent) { pool_->slots().Free(block->Find(extent.kind, extent.layer)->host); });
  }
}

void StoreCore::Release(std::vector<Block*>& blocks) {
  for (Block* block : blocks) {
    Index::Locked shard = index_.Lock(block->key);
    DROIDSPEAK_CHECK(block->references > 0);
    --block->references;
    Collect(shard, block);
  }
  blocks.clear();
}

absl::StatusOr<bool> StoreCore::Commit(FillSlot& slot, uint64_t checksum) {
  const OfferPtr offer = std::exchange(slot.offer_, nullptr);
  std::byte* data = std::exchange(slot.data_, nullptr);
  // After it is counted.
  const absl::Cleanup filled = [&] { offer->space().tenant->filling_bytes -= SlabPool::SlotBytes(slot.bytes_); };
  if (closing) {
    pool_->slots().Free(data);
    return absl::UnavailableError("the store is closing");
  }
  return offer->Commit(*this, slot.block_, slot.extent_, data, checksum);
}

void StoreCore::Abort(FillSlot& slot) {
  const OfferPtr offer = std::exchange(slot.offer_, nullptr);
  offer->space().tenant->filling_bytes -= SlabPool::SlotBytes(slot.bytes_);
  pool_->slots().Free(std::exchange(slot.data_, nullptr));
  offer->ReturnSlot(slot.block_, slot.extent_);
}

void StoreCore::QueueRemoval(DiskRemoval removal) {
  {
    absl::MutexLock lock(&removals_mutex_);
    removals_.push_back(std::move(removal));
  }
  wake_maintenance();
}

void StoreCore::PutBackRemovals(std::vector<DiskRemoval> removals) {
  absl::MutexLock lock(&removals_mutex_);
  std::move(removals.begin(), removals.end(), std::back_inserter(removals_));
}

std::vector<DiskRemoval> StoreCore::TakeRemovals() {
  absl::MutexLock lock(&removals_mutex_);
  return std::exchange(removals_, {});
}

void StoreCore::QueuePin(const BlockKey& block, std::optional<uint32_t> namespace_id) {
  if (disk_ == nullptr) return;
  {
    absl::MutexLock lock(&removals_mutex_);
    pins_[block] = namespace_id;
  }
  wake_maintenance();
}

RocksdbTier::PinChanges StoreCore::TakePins() {
  absl::MutexLock lock(&removals_mutex_);
  return std::exchange(pins_, {});
}

void StoreCore::PutBackPins(const RocksdbTier::PinChanges& changes) {
  absl::MutexLock lock(&removals_mutex_);
  pins_.insert(changes.begin(), changes.end());  // what was said since then stays
}

StoreStats StoreCore::Stats() const {
  StoreStats stats;
  for (size_t tier = 0; tier < kTiers; ++tier) {
    for (size_t kind = 0; kind < 2; ++kind) {
      stats.tiers[tier].extents[kind] = counters.extents[tier][kind].load(std::memory_order_relaxed);
      stats.tiers[tier].bytes[kind] = counters.bytes[tier][kind].load(std::memory_order_relaxed);
    }
  }
  stats.tiers[static_cast<size_t>(Tier::kHost)].capacity_bytes = pool_->slots().stats().capacity_bytes;
  if (disk_) stats.tiers[static_cast<size_t>(Tier::kRocksdb)].capacity_bytes = disk_->budget_bytes();
  stats.blocks = index_.blocks();
  stats.host_to_rocksdb = counters.host_to_rocksdb.load(std::memory_order_relaxed);
  stats.host_to_gone = counters.host_to_gone.load(std::memory_order_relaxed);
  stats.rocksdb_to_gone = counters.rocksdb_to_gone.load(std::memory_order_relaxed);
  stats.expired = counters.expired.load(std::memory_order_relaxed);
  stats.checksum_errors = counters.checksum_errors.load(std::memory_order_relaxed);
  stats.staging_bytes = pool_->staging().used_bytes();
  stats.queued_loads = counters.queued_loads.load(std::memory_order_relaxed);
  return stats;
}

}  // namespace droidspeak
