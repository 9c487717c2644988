// SPDX-License-Identifier: Apache-2.0
#include "cacheserver/store/offers.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/base/status.h"

namespace droidspeak {
namespace {

bool Test(const wire::LayerBits& bits, uint32_t layer) {
  return (bits[layer / 64] >> (layer % 64)) & 1;
}
void Put(wire::LayerBits& bits, uint32_t layer, bool value) {
  const uint64_t bit = uint64_t{1} << (layer % 64);
  bits[layer / 64] = value ? bits[layer / 64] | bit : bits[layer / 64] & ~bit;
}

}  // namespace

void Offer::Add(Block* block, const std::array<wire::LayerBits, 2>& want,
                const std::array<wire::LayerBits, 2>& others) {
  absl::MutexLock lock(&mutex_);
  entries_.push_back({block, want, {}, others});
}

absl::Status Offer::TakeSlot(size_t block, ExtentSelector extent) {
  const auto kind = static_cast<size_t>(extent.kind);
  absl::MutexLock lock(&mutex_);
  if (ended_) return absl::DeadlineExceededError("the offer has ended");
  if (block >= entries_.size() || extent.layer >= wire::kMaxLayers || !Test(entries_[block].want[kind], extent.layer) ||
      Test(entries_[block].out[kind], extent.layer)) {
    return absl::FailedPreconditionError(
        absl::StrCat("layer ", extent.layer, " of block ", block, " of the offer is not wanted"));
  }
  Put(entries_[block].out[kind], extent.layer, true);
  return absl::OkStatus();
}

void Offer::ReturnSlot(size_t block, ExtentSelector extent) {
  absl::MutexLock lock(&mutex_);
  if (!ended_) Put(entries_[block].out[static_cast<size_t>(extent.kind)], extent.layer, false);
}

absl::StatusOr<bool> Offer::Commit(StoreCore& core, size_t index, ExtentSelector extent, std::byte* data,
                                   uint64_t checksum) {
  const auto kind = static_cast<size_t>(extent.kind);
  absl::MutexLock lock(&mutex_);
  if (ended_) {
    core.pool().slots().Free(data);
    return absl::DeadlineExceededError("the offer has ended");
  }
  Entry& entry = entries_[index];
  Put(entry.want[kind], extent.layer, false);
  Put(entry.out[kind], extent.layer, false);
  Index::Locked shard = core.index().Lock(entry.block->key);
  Block* block = entry.block;
  const bool first = block->linked && !block->Ready(extent.kind, extent.layer);
  if (first) {
    core.PutOnHost(block, extent, data, checksum);
  } else {
    core.pool().slots().Free(data);
  }
  block->Clear(ExtentState::kFilling, extent.kind, extent.layer);
  if (!block->linked) return absl::NotFoundError("the block was removed");
  Put(entry.kept[kind], extent.layer, true);
  return first;
}

bool Offer::End(StoreCore& core) {
  absl::MutexLock lock(&mutex_);
  if (ended_) return false;
  ended_ = true;
  for (Entry& entry : entries_) {
    Index::Locked shard = core.index().Lock(entry.block->key);
    for (Kind kind : kKinds) entry.block->Clear(ExtentState::kFilling, kind, entry.want[static_cast<size_t>(kind)]);
  }
  return true;
}

std::vector<Offer::Kept> Offer::KeptExtents() const {
  absl::MutexLock lock(&mutex_);
  std::vector<Kept> kept;
  kept.reserve(entries_.size());
  for (const Entry& entry : entries_) kept.push_back({entry.block, entry.kept});
  return kept;
}

void Offer::Release(StoreCore& core) {
  absl::MutexLock lock(&mutex_);
  for (const Entry& entry : entries_) {
    Index::Locked shard = core.index().Lock(entry.block->key);
    --entry.block->offers;
    core.Collect(shard, entry.block);
  }
  entries_.clear();
}

size_t Offer::size() const {
  absl::MutexLock lock(&mutex_);
  return entries_.size();
}

}  // namespace droidspeak
