// SPDX-License-Identifier: Apache-2.0
#include "cacheserver/store/pins.h"

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/bytes.h"

namespace droidspeak {
namespace {

constexpr uint64_t kPinnedShare = 10;
constexpr uint16_t kMostPins = UINT16_MAX;

// What is there, and what is being filled.
uint64_t HeldBytes(const StoreCore& core, const Block& block) {
  uint64_t bytes = 0;
  for (Kind kind : kKinds) {
    const uint64_t extent_bytes = core.ExtentBytes(block, kind);
    wire::LayerBits held = block.ReadyBits(kind);
    const wire::LayerBits filling = block.Bits(ExtentState::kFilling, kind);
    for (size_t word = 0; word < held.size(); ++word) held[word] |= filling[word];
    ForEachLayer(kind, held, [&](ExtentSelector) { bytes += extent_bytes; });
  }
  return bytes;
}

}  // namespace

absl::StatusOr<uint32_t> PinTable::Pin(OwnerId owner, uint32_t tenant, uint32_t namespace_id,
                                       absl::Span<const Digest> blocks) {
  const uint32_t tick = core_->NextTick();
  absl::MutexLock lock(&mutex_);
  Pins& pins = owners_[owner];
  std::vector<BlockKey> added;
  for (const Digest& hash : blocks) {
    const BlockKey key{tenant, hash};
    if (pins.contains(key)) continue;
    Digest parent;
    uint32_t position = 0;
    {
      Index::Locked shard = core_->index().Lock(key);
      Block* block = core_->FindLive(shard, key, namespace_id);
      if (block == nullptr || block->pins == kMostPins) continue;
      const uint64_t bytes = HeldBytes(*core_, *block);
      ++block->pins;
      pins.emplace(key, Pinned{namespace_id, bytes});
      Count(key, static_cast<int64_t>(bytes));
      for (Kind kind : kKinds) {
        for (uint32_t group = 0; group < block->groups(); ++group) block->last_use(kind, group) = tick;
      }
      parent = block->parent;
      position = block->position;
    }
    added.push_back(key);
    // What precedes it must stay as well. One walk a run: the block before has been touched with this tick.
    const bool follows = added.size() > 1 && added[added.size() - 2].hash == parent;
    if (position > 0 && !follows) core_->index().TouchAncestors(tenant, parent, {~0u, ~0u}, tick);
  }
  if (absl::Status within = CheckLimits(tenant); !within.ok()) {
    for (const BlockKey& key : added) {
      UnpinOne(key, pins.at(key).bytes);
      pins.erase(key);
    }
    return within;
  }
  for (const BlockKey& key : added) {
    if (owner == kOperator) core_->QueuePin(key, namespace_id);
  }
  return static_cast<uint32_t>(added.size());
}

absl::StatusOr<uint32_t> PinTable::PinAll(OwnerId owner, uint32_t tenant, uint32_t namespace_id) {
  // What is over the limit by far is refused before all its names are in memory.
  const uint64_t limit = LimitOf(tenant);
  uint64_t bytes = 0;
  std::vector<Digest> hashes;
  for (size_t shard = 0; shard < Index::kShards && bytes <= limit; ++shard) {
    core_->index().ForEachIn(shard, [&](Index::Locked&, Block* block) {
      if (block->namespace_id != namespace_id) return;
      hashes.push_back(block->key.hash);
      bytes += HeldBytes(*core_, *block);
    });
  }
  if (bytes > limit) {
    return absl::ResourceExhaustedError(absl::StrCat("more than ", FormatBytes(limit),
                                                     " would be pinned, a tenth of what tenant ",
                                                     core_->tenants().Find(tenant)->name, " may have here"));
  }
  return Pin(owner, tenant, namespace_id, hashes);
}

uint64_t PinTable::Capacity() const {
  return core_->pool().slots().stats().capacity_bytes + (core_->disk() == nullptr ? 0 : core_->disk()->budget_bytes());
}

uint64_t PinTable::LimitOf(uint32_t tenant) const {
  const uint64_t host = core_->pool().slots().stats().capacity_bytes;
  const uint64_t disk = core_->disk() == nullptr ? 0 : core_->disk()->budget_bytes();
  const TenantEntry* const entry = core_->tenants().Find(tenant);
  if (entry == nullptr) return (host + disk) / kPinnedShare;
  return (std::min(host, entry->quota.host_bytes) + std::min(disk, entry->quota.spill_bytes)) / kPinnedShare;
}

absl::Status PinTable::CheckLimits(uint32_t tenant) const {
  if (const uint64_t most = Capacity() / kPinnedShare; pinned_bytes_ > most) {
    return absl::ResourceExhaustedError(absl::StrCat(FormatBytes(pinned_bytes_), " would be pinned, expected at most ",
                                                     FormatBytes(most), ", a tenth of the server's capacity"));
  }
  const auto own = tenant_bytes_.find(tenant);
  if (const uint64_t most = LimitOf(tenant); own != tenant_bytes_.end() && own->second > most) {
    return absl::ResourceExhaustedError(absl::StrCat(FormatBytes(own->second), " would be pinned, expected at most ",
                                                     FormatBytes(most), ", a tenth of what tenant ",
                                                     core_->tenants().Find(tenant)->name, " may have here"));
  }
  return absl::OkStatus();
}

void PinTable::Count(const BlockKey& key, int64_t bytes) {
  pinned_bytes_ += static_cast<uint64_t>(bytes);
  tenant_bytes_[key.tenant] += static_cast<uint64_t>(bytes);
}

bool PinTable::Has(OwnerId owner, const BlockKey& block) {
  absl::MutexLock lock(&mutex_);
  const auto pins = owners_.find(owner);
  return pins != owners_.end() && pins->second.contains(block);
}

bool PinTable::Restore(const PinRow& row) {
  absl::MutexLock lock(&mutex_);
  Index::Locked shard = core_->index().Lock(row.block);
  Block* const block = shard.Find(row.block);  // expired or not: it was pinned
  if (block == nullptr || block->namespace_id != row.namespace_id) {
    core_->QueuePin(row.block, std::nullopt);
    return false;
  }
  const uint64_t bytes = HeldBytes(*core_, *block);
  if (owners_[kOperator].emplace(row.block, Pinned{row.namespace_id, bytes}).second) {
    ++block->pins;
    Count(row.block, static_cast<int64_t>(bytes));
  }
  return true;
}

void PinTable::UnpinOne(const BlockKey& key, uint64_t bytes) {
  Count(key, -static_cast<int64_t>(bytes));
  Index::Locked shard = core_->index().Lock(key);
  // A removed block takes its pins out of this table with it: what is linked here is what was pinned.
  if (Block* block = shard.Find(key); block != nullptr) {
    --block->pins;
    core_->NoteExpiry(block->expiry);  // which may have passed meanwhile
    core_->Collect(shard, block);
  }
}

uint32_t PinTable::Unpin(OwnerId owner, uint32_t tenant, uint32_t namespace_id, absl::Span<const Digest> blocks) {
  absl::MutexLock lock(&mutex_);
  const auto pins = owners_.find(owner);
  if (pins == owners_.end()) return 0;
  uint32_t changed = 0;
  for (const Digest& hash : blocks) {
    const auto pin = pins->second.find(BlockKey{tenant, hash});
    if (pin == pins->second.end() || pin->second.namespace_id != namespace_id) continue;
    UnpinOne(pin->first, pin->second.bytes);
    if (owner == kOperator) core_->QueuePin(pin->first, std::nullopt);
    pins->second.erase(pin);
    ++changed;
  }
  return changed;
}

uint32_t PinTable::UnpinAll(OwnerId owner, uint32_t namespace_id) {
  std::vector<Digest> hashes;
  uint32_t tenant = 0;
  {
    absl::MutexLock lock(&mutex_);
    const auto pins = owners_.find(owner);
    if (pins == owners_.end()) return 0;
    for (const auto& [key, pinned] : pins->second) {
      if (pinned.namespace_id != namespace_id) continue;
      hashes.push_back(key.hash);
      tenant = key.tenant;  // a namespace is one tenant's
    }
  }
  return Unpin(owner, tenant, namespace_id, hashes);
}

void PinTable::DropOwner(OwnerId owner) {
  absl::MutexLock lock(&mutex_);
  const auto pins = owners_.find(owner);
  if (pins == owners_.end()) return;
  for (const auto& [key, pinned] : pins->second) UnpinOne(key, pinned.bytes);
  owners_.erase(pins);
}

uint32_t PinTable::Remove(uint32_t tenant, uint32_t namespace_id, absl::Span<const Digest> blocks) {
  absl::MutexLock lock(&mutex_);
  uint32_t removed = 0;
  for (const Digest& hash : blocks) {
    const BlockKey key{tenant, hash};
    {
      Index::Locked shard = core_->index().Lock(key);
      Block* block = core_->FindLive(shard, key, namespace_id);
      if (block == nullptr) continue;
      core_->Remove(shard, block);
      ++removed;
    }
    for (auto& [owner, pins] : owners_) {
      const auto pin = pins.find(key);
      if (pin == pins.end()) continue;
      Count(key, -static_cast<int64_t>(pin->second.bytes));
      if (owner == kOperator) core_->QueuePin(key, std::nullopt);
      pins.erase(pin);
    }
  }
  return removed;
}

}  // namespace droidspeak
