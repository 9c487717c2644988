// SPDX-License-Identifier: Apache-2.0
#include "cacheserver/store/pins.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/bytes.h"

namespace droidspeak {
namespace {

constexpr uint64_t kPinnedShare = 10;
constexpr uint16_t kMostPins = UINT16_MAX;

uint64_t ReadyBytes(const StoreCore& core, const Block& block) {
  uint64_t bytes = 0;
  for (Kind kind : kKinds) {
    const uint64_t extent_bytes = core.ExtentBytes(block, kind);
    ForEachLayer(kind, block.ReadyBits(kind), [&](ExtentSelector) { bytes += extent_bytes; });
  }
  return bytes;
}

}  // namespace

absl::StatusOr<uint32_t> PinTable::Pin(OwnerId owner, uint32_t tenant, uint32_t namespace_id,
                                       absl::Span<const Digest> blocks) {
  const uint64_t capacity =
      core_->pool().slots().stats().capacity_bytes + (core_->disk() == nullptr ? 0 : core_->disk()->budget_bytes());
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
      const uint64_t bytes = ReadyBytes(*core_, *block);
      ++block->pins;
      pins.emplace(key, Pinned{namespace_id, bytes});
      pinned_bytes_ += bytes;
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
  if (pinned_bytes_ > capacity / kPinnedShare) {
    const uint64_t would_be = pinned_bytes_;
    for (const BlockKey& key : added) {
      UnpinOne(key, pins.at(key).bytes);
      pins.erase(key);
    }
    return absl::ResourceExhaustedError(absl::StrCat(FormatBytes(would_be), " would be pinned, expected at most ",
                                                     FormatBytes(capacity / kPinnedShare)));
  }
  return static_cast<uint32_t>(added.size());
}

void PinTable::UnpinOne(const BlockKey& key, uint64_t bytes) {
  pinned_bytes_ -= bytes;
  Index::Locked shard = core_->index().Lock(key);
  // A removed block takes its pins out of this table with it: what is linked here is what was pinned.
  if (Block* block = shard.Find(key); block != nullptr) {
    --block->pins;
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
    pins->second.erase(pin);
    ++changed;
  }
  return changed;
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
      pinned_bytes_ -= pin->second.bytes;
      pins.erase(pin);
    }
  }
  return removed;
}

}  // namespace droidspeak
