// SPDX-License-Identifier: Apache-2.0
#include "cacheserver/store/evictor.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/base/bytes.h"
#include "common/base/status.h"
#include "common/base/steady_now.h"

namespace droidspeak {
namespace {

// Room is made in steps of this share of a tier, so that one look at the index serves many extents.
constexpr uint64_t kBatchShare = 32;
// After a tenant's quota was met by what is in use.
constexpr absl::Duration kPointless = absl::Milliseconds(20);
// What RocksDB is given at a time: it copies it twice, the second time from the processor's cache.
constexpr uint64_t kMostWriteBytes = 1 << 20;

// The layers of a victim's group.
wire::LayerBits GroupLayers(uint8_t bits, uint32_t group) {
  wire::LayerBits layers{};
  const uint32_t layer = group * kGroupLayers;
  layers[layer / 64] = uint64_t{bits} << (layer % 64);
  return layers;
}

// The victim's block if it may still go.
Block* FindVictim(const Index::Locked& shard, const EvictionCandidate& victim) {
  Block* block = shard.Find(victim.block);
  if (block == nullptr || block->references > 0) return nullptr;
  if (victim.group >= block->groups() || block->last_use(victim.kind, victim.group) != victim.last_use) return nullptr;
  return block;
}

}  // namespace

BlockRow RowOf(const Block& block) {
  BlockRow row{block.key, block.parent, block.namespace_id, block.position, block.expiry, block.layers, {}, {}};
  for (Kind kind : kKinds) {
    const auto k = static_cast<size_t>(kind);
    row.bits[k] = block.Bits(ExtentState::kDisk, kind);
    ForEachLayer(kind, row.bits[k],
                 [&](ExtentSelector extent) { row.checksums[k].push_back(block.Find(kind, extent.layer)->checksum); });
  }
  return row;
}

std::byte* Evictor::AllocateEvicting(TenantEntry& tenant, uint64_t bytes) {
  const uint64_t taken = SlabPool::SlotBytes(bytes);
  while (!tenant.HostHasRoom(taken)) {
    if (EvictOneFromHost(&tenant) == 0) return nullptr;
  }
  SlabPool& slots = core_->pool().slots();
  while (true) {
    if (std::byte* slot = slots.Allocate(bytes); slot != nullptr) {
      tenant.filling_bytes += taken;
      return slot;
    }
    if (EvictOneFromHost(nullptr) == 0) return nullptr;
  }
}

void Evictor::FreeHostOf(const TenantEntry& tenant, uint64_t bytes) {
  const uint64_t wanted = std::max(bytes, tenant.quota.host_bytes / kBatchShare);
  while (!tenant.HostHasRoom(wanted) && EvictOneFromHost(&tenant) > 0) {
  }
}

bool Evictor::DiskWorks() const {
  return core_->disk() != nullptr && !core_->disk()->degraded();
}

void Evictor::FreeHost(uint64_t bytes) {
  const uint64_t wanted = std::max(bytes, core_->pool().slots().stats().capacity_bytes / kBatchShare);
  uint64_t freed = 0;
  while (freed < wanted) {
    const uint64_t bytes_freed = EvictOneFromHost(nullptr);
    if (bytes_freed == 0) return;
    freed += bytes_freed;
  }
}

EvictionPlan& Evictor::PlanOf(Tier tier, const TenantEntry* tenant) {
  if (tenant == nullptr) return tier == Tier::kHost ? host_plan_ : disk_plan_;
  return TenantPlanOf(tier, *tenant).plan;
}

Evictor::TenantPlan& Evictor::TenantPlanOf(Tier tier, const TenantEntry& tenant) {
  std::unique_ptr<TenantPlan>& plan = tenant_plans_[static_cast<size_t>(tier)][tenant.id];
  if (plan == nullptr) plan = std::make_unique<TenantPlan>(TenantPlan{EvictionPlan(tier)});
  return *plan;
}

bool Evictor::LookAgain(EvictionPlan& plan, bool demotes, const TenantEntry* tenant, int& looks) {
  if (looks == 2 || (looks == 1 && !plan.cut())) return false;
  plan.Make(*core_, demotes, looks == 0 ? EvictionPlan::Reach::kShare : EvictionPlan::Reach::kAllVictims, tenant);
  ++looks;
  return true;
}

uint64_t Evictor::EvictOneFromHost(const TenantEntry* tenant) {
  EvictionPlan& plan = PlanOf(Tier::kHost, tenant);
  // A tenant that asks for more than it can have must not keep this thread looking through everybody's blocks.
  if (tenant != nullptr && SteadyNow() < TenantPlanOf(Tier::kHost, *tenant).pointless_until) return 0;
  for (int looks = 0;;) {
    if (plan.empty() && !LookAgain(plan, DiskWorks(), tenant, looks)) {
      if (tenant != nullptr) TenantPlanOf(Tier::kHost, *tenant).pointless_until = SteadyNow() + kPointless;
      return 0;
    }
    while (const std::optional<EvictionCandidate> victim = plan.Next()) {
      const uint64_t freed = TakeOffHost(*victim);
      const EvictionCandidate* const next = plan.Peek();
      const EvictionCandidate& floor = next == nullptr ? *victim : *next;
      if (tenant == nullptr) core_->SetHostFloor(floor.last_use, floor.interval, floor.crowded);
      if (freed > 0) {
        if (looks == 2) plan.Clear();  // what has come meanwhile may be worth less than the rest of them
        return freed;
      }
      plan.Keep(*victim);
    }
  }
}

uint64_t Evictor::TakeOffHost(const EvictionCandidate& victim) {
  Block* block = nullptr;
  uint8_t tried = 0;  // what is filled from now on has not been written
  {
    Index::Locked shard = core_->index().Lock(victim.block);
    block = FindVictim(shard, victim);
    if (block == nullptr) return 0;
    tried = block->GroupBits(ExtentState::kHost, victim.kind, victim.group);
    ++block->references;  // not freed while it is written
  }
  std::array<wire::LayerBits, 2> layers{};
  layers[static_cast<size_t>(victim.kind)] = GroupLayers(tried, victim.group);
  (void)Spill(block, layers);  // what can't be written is gone

  Index::Locked shard = core_->index().Lock(victim.block);
  --block->references;
  uint64_t freed = 0;
  const bool still = block->linked && FindVictim(shard, victim) == block;
  if (still) {
    const wire::LayerBits host =
        GroupLayers(tried & block->GroupBits(ExtentState::kHost, victim.kind, victim.group), victim.group);
    const bool filling = block->GroupBits(ExtentState::kFilling, victim.kind, victim.group) != 0;
    const uint64_t extent_bytes = core_->ExtentBytes(*block, victim.kind);
    ForEachLayer(victim.kind, host, [&](ExtentSelector extent) {
      const bool stays = block->Has(ExtentState::kDisk, extent.kind, extent.layer);
      if (!stays && (filling || block->pins > 0)) return;
      (stays ? core_->counters.host_to_rocksdb : core_->counters.host_to_gone).fetch_add(1);
      core_->TakeOffHost(block, extent);
      freed += extent_bytes;
    });
  }
  core_->Collect(shard, block);
  return freed;
}

absl::Status Evictor::WriteNamespaceOnce(uint32_t namespace_id) {
  NamespaceEntry* space = core_->namespaces().Find(namespace_id);
  if (space->on_disk) return absl::OkStatus();
  RETURN_IF_ERROR(core_->disk()->WriteNamespace(space->row));
  space->on_disk = true;
  return absl::OkStatus();
}

bool Evictor::CollectSpill(const Block& block, const std::array<wire::LayerBits, 2>& layers, SpillWork& work) {
  for (Kind kind : kKinds) {
    const uint64_t extent_bytes = core_->ExtentBytes(block, kind);
    ForEachLayer(kind, layers[static_cast<size_t>(kind)], [&](ExtentSelector extent) {
      if (extent.layer >= block.layers || !block.Has(ExtentState::kHost, kind, extent.layer) ||
          block.Has(ExtentState::kDisk, kind, extent.layer)) {
        return;
      }
      const Extent* entry = block.Find(kind, extent.layer);
      work.writes.push_back({extent, entry->host, extent_bytes, entry->checksum});
      work.bytes += extent_bytes;
    });
  }
  return block.linked;
}

// Of now: a loader may have found something of the block to be corrupt since it was looked at.
BlockRow Evictor::RowWith(const Block& block, absl::Span<const RocksdbTier::ExtentWrite> writes) {
  const Index::Locked shard = core_->index().Lock(block.key);
  BlockRow row = RowOf(block);
  for (const RocksdbTier::ExtentWrite& write : writes) row.Add(write.extent, write.checksum);
  return row;
}

absl::Status Evictor::WriteSpill(Block* block, SpillWork& work) {
  RETURN_IF_ERROR(WriteNamespaceOnce(block->namespace_id));
  for (size_t first = 0; first < work.writes.size();) {
    // RocksDB copies what it is given: not all of a block at once.
    size_t count = 0;
    uint64_t bytes = 0;
    for (; first + count < work.writes.size() && (count == 0 || bytes < kMostWriteBytes); ++count) {
      bytes += work.writes[first + count].bytes;
    }
    const absl::Span<const RocksdbTier::ExtentWrite> piece(work.writes.data() + first, count);
    // Else it is refused. For each piece: a compaction holds its old files and its new ones for a while.
    // One that begins between the look for room and the write takes it: then it is waited for as well.
    absl::Status written;
    bool again = true;
    while (again) {
      const bool has_room = compactor_->AwaitRoom(bytes);
      written = core_->disk()->Write(RowWith(*block, piece), piece);
      again = has_room && absl::IsResourceExhausted(written) && DiskWorks();
    }
    RETURN_IF_ERROR(written);
    first += count;

    Index::Locked shard = core_->index().Lock(block->key);
    if (!block->linked) {
      DiskRemoval removal{block->key, {}};
      for (const auto& write : piece) removal.extents.push_back(write.extent);
      core_->QueueRemoval(std::move(removal));
      return absl::NotFoundError("the block was removed");
    }
    for (const auto& write : piece) core_->PutOnDisk(block, write.extent);
  }
  return absl::OkStatus();
}

absl::Status Evictor::Spill(Block* block, const std::array<wire::LayerBits, 2>& layers) {
  if (core_->disk() == nullptr) return absl::FailedPreconditionError("there is no RocksDB tier");
  SpillWork work;
  {
    Index::Locked shard = core_->index().Lock(block->key);
    if (!CollectSpill(*block, layers, work)) return absl::NotFoundError("the block was removed");
    if (work.writes.empty()) return absl::OkStatus();
    ++block->references;  // its extents stay where they are, on disk too, while room is made and they are written
  }
  absl::Status status = DiskWorks() ? MakeRoomOnDisk(*core_->namespaces().Find(block->namespace_id)->tenant, work.bytes)
                                    : absl::UnavailableError("the RocksDB tier is degraded");
  if (status.ok()) status = WriteSpill(block, work);
  Index::Locked shard = core_->index().Lock(block->key);
  --block->references;
  core_->Collect(shard, block);
  return status;
}

absl::Status Evictor::MakeRoomOnDisk(const TenantEntry& tenant, uint64_t bytes) {
  while (!tenant.SpillHasRoom(bytes)) {
    if (bytes <= tenant.quota.spill_bytes && EvictOneFromDisk(&tenant)) continue;
    return absl::ResourceExhaustedError(absl::StrCat("tenant ", tenant.name, " has its quota of ",
                                                     FormatBytes(tenant.quota.spill_bytes), " on disk in use"));
  }
  const uint64_t budget = core_->disk()->budget_bytes();
  if (bytes > budget) return absl::ResourceExhaustedError("the spill limit is too small");
  if (core_->DiskLiveBytes() + bytes > budget) {
    const uint64_t batch = std::max(bytes, budget / kBatchShare);
    while (core_->DiskLiveBytes() + batch > budget && EvictOneFromDisk(nullptr)) {
    }
  }
  (void)ProcessRemovals();  // of which the room may come
  return core_->DiskLiveBytes() + bytes <= budget ? absl::OkStatus()
                                                  : absl::ResourceExhaustedError("the spill limit is reached");
}

bool Evictor::EvictOneFromDisk(const TenantEntry* tenant) {
  EvictionPlan& plan = PlanOf(Tier::kRocksdb, tenant);
  for (int looks = 0;;) {
    if (plan.empty() && !LookAgain(plan, false, tenant, looks)) return false;
    while (const std::optional<EvictionCandidate> victim = plan.Next()) {
      std::vector<ExtentSelector> extents;
      BlockRow row;
      {
        Index::Locked shard = core_->index().Lock(victim->block);
        Block* block = FindVictim(shard, *victim);
        if (block != nullptr && block->pins == 0 &&
            block->GroupBits(ExtentState::kFilling, victim->kind, victim->group) == 0) {
          ForEachLayer(victim->kind,
                       GroupLayers(block->GroupBits(ExtentState::kDisk, victim->kind, victim->group), victim->group),
                       [&](ExtentSelector extent) { extents.push_back(extent); });
          for (const ExtentSelector& extent : extents) core_->TakeOffDisk(block, extent);
          row = RowOf(*block);
          core_->Collect(shard, block);
        }
      }
      if (extents.empty()) {
        plan.Keep(*victim);
        continue;
      }
      core_->counters.rocksdb_to_gone.fetch_add(extents.size());
      if (looks == 2) plan.Clear();
      const absl::Status removed = core_->disk()->Remove(row, extents);
      compactor_->NoteRemoval();
      if (!removed.ok()) core_->PutBackRemovals({{victim->block, extents}});
      return removed.ok();
    }
  }
}

absl::Status Evictor::ProcessRemovals() {
  if (core_->disk() == nullptr) return absl::OkStatus();
  std::vector<DiskRemoval> removals = core_->TakeRemovals();
  std::vector<DiskRemoval> failed;
  for (DiskRemoval& removal : removals) {
    if (!failed.empty()) {
      failed.push_back(std::move(removal));
      continue;
    }
    BlockRow row;
    row.block = removal.block;
    {
      Index::Locked shard = core_->index().Lock(removal.block);
      if (Block* block = shard.Find(removal.block); block != nullptr) {
        row = RowOf(*block);
        std::erase_if(removal.extents, [&](const ExtentSelector& extent) {
          return extent.layer < block->layers && block->Has(ExtentState::kDisk, extent.kind, extent.layer);
        });
      }
    }
    if (!core_->disk()->Remove(row, removal.extents).ok()) failed.push_back(std::move(removal));
    compactor_->NoteRemoval();
  }
  if (failed.empty()) return absl::OkStatus();
  core_->PutBackRemovals(std::move(failed));
  return absl::UnavailableError("the RocksDB tier does not delete now");
}

absl::Status Evictor::ProcessPins() {
  if (core_->disk() == nullptr) return absl::OkStatus();
  const RocksdbTier::PinChanges changes = core_->TakePins();
  if (changes.empty()) return absl::OkStatus();
  // A pin is of no use after a restart without its namespace, which may have nothing on disk yet.
  absl::Status written;
  for (const auto& [block, namespace_id] : changes) {
    if (namespace_id && written.ok()) written = WriteNamespaceOnce(*namespace_id);
  }
  if (written.ok()) written = core_->disk()->WritePins(changes);
  if (!written.ok()) core_->PutBackPins(changes);
  return written;
}

absl::Status Evictor::SpillAll() {
  if (core_->disk() == nullptr) return absl::OkStatus();
  EvictionPlan plan(Tier::kHost);
  plan.Make(*core_, true, EvictionPlan::Reach::kEverything, nullptr);
  absl::Status first;
  for (auto victim = plan.victims().rbegin(); victim != plan.victims().rend(); ++victim) {
    Block* block = nullptr;
    {
      Index::Locked shard = core_->index().Lock(victim->block);
      block = shard.Find(victim->block);
      if (block == nullptr) continue;
      ++block->references;
    }
    std::array<wire::LayerBits, 2> layers{};
    layers[static_cast<size_t>(victim->kind)] = GroupLayers(0xff, victim->group);
    const absl::Status spilled = Spill(block, layers);
    Index::Locked shard = core_->index().Lock(victim->block);
    --block->references;
    core_->Collect(shard, block);
    if (spilled.ok() || absl::IsNotFound(spilled)) continue;
    const bool full = absl::IsResourceExhausted(spilled) && !core_->disk()->degraded();
    if (!full && first.ok()) first = spilled;
    if (core_->disk()->degraded()) break;
  }
  return first;
}

}  // namespace droidspeak
