// SPDX-License-Identifier: Apache-2.0
// Host memory of a server: one arena, most of it slots for extents, the rest staging buffers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "common/memory/host_arena.h"
#include "common/memory/slab_pool.h"

namespace droidspeak {

// Buffers for extents that are read from disk and get no slot of the pool: all are in use, or nothing in them is worth
// less. Bounded: who finds none waits in a queue, first come first served, until a buffer is given back. Thread-safe.
class StagingPool {
 public:
  // Called with a buffer, or with null when the pool is closed. Runs inside Take() or on the thread that Give()s.
  using Taker = std::function<void(std::byte* buffer)>;

  StagingPool(std::byte* base, uint64_t bytes) : slots_(base, bytes) {}
  StagingPool(const StagingPool&) = delete;
  StagingPool& operator=(const StagingPool&) = delete;

  void Take(uint64_t bytes, Taker taker);
  void Give(const std::byte* buffer);
  // Turns all who wait and who come later away.
  void Close();
  uint64_t used_bytes() const { return slots_.stats().used_bytes; }
  bool mostly_taken() const {
    const SlabPool::Stats stats = slots_.stats();
    return 2 * stats.used_bytes > stats.capacity_bytes;
  }

 private:
  struct Waiter {
    uint64_t bytes;
    Taker taker;
  };
  void ServeWaiters();

  SlabPool slots_;
  absl::Mutex mutex_;
  std::deque<Waiter> waiters_ ABSL_GUARDED_BY(mutex_);
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
};

// Owns the arena and both pools on it. Thread-safe.
class HostPool {
 public:
  // An eighth of `bytes`, at least 16 MiB if that is at most half of it, at most 256 MiB, is the staging reserve.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<HostPool>> Create(uint64_t bytes);

  const HostArena& arena() const { return *arena_; }
  SlabPool& slots() { return slots_; }
  const SlabPool& slots() const { return slots_; }
  StagingPool& staging() { return staging_; }
  // The largest extent that both pools can hold several of.
  uint64_t max_extent_bytes() const { return max_extent_bytes_; }

 private:
  HostPool(std::unique_ptr<HostArena> arena, uint64_t staging_bytes);

  const std::unique_ptr<HostArena> arena_;
  SlabPool slots_;
  StagingPool staging_;
  const uint64_t max_extent_bytes_;
};

}  // namespace droidspeak
