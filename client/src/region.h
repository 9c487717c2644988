// SPDX-License-Identifier: Apache-2.0
// Memory that servers transfer to and from, and the quarantine of what they may still write to.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "common/memory/host_arena.h"
#include "common/transport/transport.h"
#include "droidspeak/client.h"

namespace droidspeak {

// The memory of a region and its number. Shared by the caller's Region and by every fetch that may still write to it,
// so that the mapping outlives both. Thread-safe.
class RegionMemory {
 public:
  RegionMemory(uint32_t id, std::unique_ptr<HostArena> arena) : id_(id), arena_(std::move(arena)) {}

  uint32_t id() const { return id_; }
  std::byte* data() const { return arena_->base(); }
  uint64_t bytes() const { return arena_->bytes(); }
  MemoryRegion memory() const { return {arena_->base(), arena_->bytes(), arena_->fd()}; }

  // Marks [first, last) as possibly written to for ever: nobody could prove that its writer has stopped.
  void Quarantine(uint64_t first, uint64_t last);
  // Whether any byte of [first, last) is.
  bool IsQuarantined(uint64_t first, uint64_t last) const;

 private:
  struct Range {
    uint64_t first;
    uint64_t last;
  };
  const uint32_t id_;
  const std::unique_ptr<HostArena> arena_;
  mutable absl::Mutex mutex_;
  std::vector<Range> quarantined_ ABSL_GUARDED_BY(mutex_);
};

// What the caller holds. Told to the client when it goes.
class RegionImpl : public Region {
 public:
  RegionImpl(std::shared_ptr<RegionMemory> memory, std::function<void(uint32_t)> on_free)
      : memory_(std::move(memory)), on_free_(std::move(on_free)) {}
  ~RegionImpl() override { on_free_(memory_->id()); }
  std::byte* data() const override { return memory_->data(); }
  uint64_t bytes() const override { return memory_->bytes(); }
  const std::shared_ptr<RegionMemory>& memory() const { return memory_; }

 private:
  const std::shared_ptr<RegionMemory> memory_;
  const std::function<void(uint32_t)> on_free_;
};

// A TransferItem whose ranges have been checked: what a slot of it covers.
struct PlacedItem {
  TransferItem item;
  std::shared_ptr<RegionMemory> memory;
  uint64_t part_bytes = 0;  // of K, of V, or of E
  bool has_second = false;  // V

  std::byte* first(uint32_t slot) const { return memory->data() + item.first + slot * item.slot_stride; }
  std::byte* second(uint32_t slot) const { return memory->data() + item.second + slot * item.slot_stride; }
};

// Checks `items` against `layout` and their regions for every slot of `slots`. INVALID_ARGUMENT names the item.
[[nodiscard]] absl::StatusOr<std::vector<PlacedItem>> PlaceItems(const Layout& layout,
                                                                 const std::vector<TransferItem>& items,
                                                                 const std::vector<uint32_t>& slots);

// Calls `visit(memory, first, last)` for each range of bytes that `items` x `slots` name.
template <typename Visit>
void ForEachRange(const std::vector<PlacedItem>& items, const std::vector<uint32_t>& slots, Visit visit) {
  for (const PlacedItem& placed : items) {
    for (const uint32_t slot : slots) {
      const uint64_t offset = slot * placed.item.slot_stride;
      visit(*placed.memory, placed.item.first + offset, placed.item.first + offset + placed.part_bytes);
      if (placed.has_second) {
        visit(*placed.memory, placed.item.second + offset, placed.item.second + offset + placed.part_bytes);
      }
    }
  }
}

}  // namespace droidspeak
