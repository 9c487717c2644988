// SPDX-License-Identifier: Apache-2.0
// Fixed-size slots for extents, on an arena.
//
// Extents come in a few sizes (KV and E of each layout). A *slab* is a run of 64 KiB units given to one size class and
// cut into equal slots; it goes back when its last slot is freed, so that memory moves between sizes as the load
// changes. A slab has at least 4 MiB and 8 slots where the arena has such a run, less where it has not: loss by
// rounding is below 2 %.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/btree_map.h"
#include "absl/container/btree_set.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"

namespace droidspeak {

// Thread-safe. Doesn't own the memory and never touches it. Allocate and Free are O(1), except when a slab is taken or
// returned: O(log slabs).
class SlabPool {
 public:
  static constexpr uint64_t kSlotAlignment = 4096;
  static constexpr uint64_t kUnitBytes = 64 << 10;
  static constexpr uint64_t kSlabBytes = 4 << 20;
  static constexpr uint64_t kSlabSlots = 8;

  // The pool hands out [base, base + bytes). `base` is aligned to kSlotAlignment; what exceeds whole units is not used.
  SlabPool(std::byte* base, uint64_t bytes);
  ~SlabPool();
  SlabPool(const SlabPool&) = delete;
  SlabPool& operator=(const SlabPool&) = delete;

  // What an extent of `bytes` occupies: rounded up to kSlotAlignment.
  static constexpr uint64_t SlotBytes(uint64_t bytes) {
    return (bytes + kSlotAlignment - 1) / kSlotAlignment * kSlotAlignment;
  }

  // A slot of at least `bytes` > 0, aligned to kSlotAlignment; nullptr when this size class has no free slot and no run
  // of units is left for one. After evictions of other sizes that may change, at the latest when a slab has become
  // empty.
  [[nodiscard]] std::byte* Allocate(uint64_t bytes);

  // Gives back a slot that Allocate() returned, once.
  void Free(std::byte* slot);

  // True if Allocate(bytes) would succeed now.
  bool CanAllocate(uint64_t bytes) const;

  struct Stats {
    uint64_t capacity_bytes = 0;  // all that can be handed out
    uint64_t used_bytes = 0;      // in allocated slots
    uint64_t slab_bytes = 0;      // in slabs, free slots included
    uint64_t slots = 0;           // allocated
    uint64_t slabs = 0;
  };
  Stats stats() const;

 private:
  struct Slab;
  struct SizeClass;

  Slab* TakeSlab(uint64_t slot_bytes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void ReturnSlab(Slab* slab) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void AddRun(uint64_t start, uint64_t units) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void RemoveRun(uint64_t start, uint64_t units) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  std::byte* const base_;
  const uint64_t units_;

  mutable absl::Mutex mutex_;
  absl::flat_hash_map<uint64_t, std::unique_ptr<Slab>> slabs_ ABSL_GUARDED_BY(mutex_);  // by first unit
  std::vector<Slab*> slab_of_unit_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_map<uint64_t, std::unique_ptr<SizeClass>> classes_ ABSL_GUARDED_BY(mutex_);  // by bytes of a slot
  // Free runs of units by start, and by (length, start) for best fit.
  absl::btree_map<uint64_t, uint64_t> runs_ ABSL_GUARDED_BY(mutex_);
  absl::btree_set<std::pair<uint64_t, uint64_t>> runs_by_length_ ABSL_GUARDED_BY(mutex_);
  Stats stats_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace droidspeak
