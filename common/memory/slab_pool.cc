// SPDX-License-Identifier: Apache-2.0
#include "common/memory/slab_pool.h"

#include <algorithm>

#include "common/base/check.h"

namespace droidspeak {

// Part of the arena in slots of one size. Linked into its class's list while it has a free slot.
struct SlabPool::Slab {
  SizeClass* size_class = nullptr;
  uint64_t slot_bytes = 0;
  uint64_t start = 0;  // in units
  uint64_t units = 0;
  std::vector<uint32_t> free_slots;  // a stack
  std::vector<bool> allocated;       // finds a slot that is freed twice
  Slab* previous = nullptr;
  Slab* next = nullptr;

  bool Empty() const { return free_slots.size() == allocated.size(); }
};

// The slabs of one slot size that have a free slot. Slots come from the first; a slab that was full joins at the end,
// so that slabs at the front fill up and those that drain are left alone.
struct SlabPool::SizeClass {
  Slab* first = nullptr;
  Slab* last = nullptr;
  uint64_t slabs = 0;  // full ones too

  void Append(Slab* slab) {
    slab->previous = last;
    slab->next = nullptr;
    (last != nullptr ? last->next : first) = slab;
    last = slab;
  }
  void Remove(Slab* slab) {
    (slab->previous != nullptr ? slab->previous->next : first) = slab->next;
    (slab->next != nullptr ? slab->next->previous : last) = slab->previous;
  }
};

SlabPool::SlabPool(std::byte* base, uint64_t bytes) : base_(base), units_(bytes / kUnitBytes) {
  DROIDSPEAK_CHECK(reinterpret_cast<uintptr_t>(base) % kSlotAlignment == 0);
  absl::MutexLock lock(&mutex_);
  slab_of_unit_.resize(units_);
  stats_.capacity_bytes = units_ * kUnitBytes;
  if (units_ > 0) AddRun(0, units_);
}

SlabPool::~SlabPool() = default;

std::byte* SlabPool::Allocate(uint64_t bytes) {
  DROIDSPEAK_CHECK(bytes > 0);
  const uint64_t slot_bytes = SlotBytes(bytes);
  absl::MutexLock lock(&mutex_);
  const auto size_class = classes_.find(slot_bytes);
  Slab* slab = size_class == classes_.end() ? nullptr : size_class->second->first;
  if (slab == nullptr) slab = TakeSlab(slot_bytes);
  if (slab == nullptr) return nullptr;
  const uint32_t slot = slab->free_slots.back();
  slab->free_slots.pop_back();
  slab->allocated[slot] = true;
  if (slab->free_slots.empty()) slab->size_class->Remove(slab);
  stats_.used_bytes += slot_bytes;
  ++stats_.slots;
  return base_ + slab->start * kUnitBytes + slot * slot_bytes;
}

void SlabPool::Free(std::byte* slot) {
  DROIDSPEAK_CHECK(slot >= base_ && slot < base_ + units_ * kUnitBytes);
  const auto offset = static_cast<uint64_t>(slot - base_);
  absl::MutexLock lock(&mutex_);
  Slab* slab = slab_of_unit_[offset / kUnitBytes];
  DROIDSPEAK_CHECK(slab != nullptr);
  const uint64_t within = offset - slab->start * kUnitBytes;
  const uint64_t index = within / slab->slot_bytes;
  DROIDSPEAK_CHECK(within % slab->slot_bytes == 0 && index < slab->allocated.size() && slab->allocated[index]);
  slab->allocated[index] = false;
  if (slab->free_slots.empty()) slab->size_class->Append(slab);
  slab->free_slots.push_back(static_cast<uint32_t>(index));
  stats_.used_bytes -= slab->slot_bytes;
  --stats_.slots;
  if (slab->Empty()) ReturnSlab(slab);
}

bool SlabPool::CanAllocate(uint64_t bytes) const {
  const uint64_t slot_bytes = SlotBytes(bytes);
  absl::MutexLock lock(&mutex_);
  const auto found = classes_.find(slot_bytes);
  if (found != classes_.end() && found->second->first != nullptr) return true;
  return !runs_by_length_.empty() && runs_by_length_.rbegin()->first * kUnitBytes >= slot_bytes;
}

SlabPool::Stats SlabPool::stats() const {
  absl::MutexLock lock(&mutex_);
  return stats_;
}

// Best fit: the shortest run that holds a slab of full size, else the longest there is. nullptr if that holds no slot.
SlabPool::Slab* SlabPool::TakeSlab(uint64_t slot_bytes) {
  const uint64_t wanted_slots = std::max(kSlabSlots, (kSlabBytes + slot_bytes - 1) / slot_bytes);
  const uint64_t wanted_units = (wanted_slots * slot_bytes + kUnitBytes - 1) / kUnitBytes;
  auto run = runs_by_length_.lower_bound({wanted_units, 0});
  if (run == runs_by_length_.end()) {
    if (runs_by_length_.empty()) return nullptr;
    run = std::prev(runs_by_length_.end());
  }
  const auto [length, start] = *run;
  const uint64_t slots = std::min(wanted_slots, length * kUnitBytes / slot_bytes);
  if (slots == 0) return nullptr;

  std::unique_ptr<SizeClass>& size_class = classes_[slot_bytes];
  if (size_class == nullptr) size_class = std::make_unique<SizeClass>();
  auto slab = std::make_unique<Slab>();
  slab->size_class = size_class.get();
  slab->slot_bytes = slot_bytes;
  slab->start = start;
  slab->units = (slots * slot_bytes + kUnitBytes - 1) / kUnitBytes;
  slab->allocated.resize(slots);
  for (uint64_t i = slots; i > 0; --i) slab->free_slots.push_back(static_cast<uint32_t>(i - 1));

  RemoveRun(start, length);
  if (length > slab->units) AddRun(start + slab->units, length - slab->units);
  std::fill_n(slab_of_unit_.begin() + static_cast<ptrdiff_t>(start), slab->units, slab.get());
  size_class->Append(slab.get());
  ++size_class->slabs;
  stats_.slab_bytes += slab->units * kUnitBytes;
  ++stats_.slabs;
  return (slabs_[start] = std::move(slab)).get();
}

void SlabPool::ReturnSlab(Slab* slab) {
  uint64_t start = slab->start;
  uint64_t units = slab->units;
  slab->size_class->Remove(slab);
  if (--slab->size_class->slabs == 0) classes_.erase(slab->slot_bytes);
  std::fill_n(slab_of_unit_.begin() + static_cast<ptrdiff_t>(start), units, nullptr);
  stats_.slab_bytes -= units * kUnitBytes;
  --stats_.slabs;
  slabs_.erase(start);

  const auto after = runs_.lower_bound(start);
  if (after != runs_.end() && after->first == start + units) {
    const uint64_t after_units = after->second;
    RemoveRun(start + units, after_units);
    units += after_units;
  }
  auto before = runs_.lower_bound(start);
  if (before != runs_.begin()) {
    --before;
    const auto [before_start, before_units] = *before;
    if (before_start + before_units == start) {
      RemoveRun(before_start, before_units);
      start = before_start;
      units += before_units;
    }
  }
  AddRun(start, units);
}

void SlabPool::AddRun(uint64_t start, uint64_t units) {
  runs_[start] = units;
  runs_by_length_.insert({units, start});
}

void SlabPool::RemoveRun(uint64_t start, uint64_t units) {
  runs_.erase(start);
  runs_by_length_.erase({units, start});
}

}  // namespace droidspeak
