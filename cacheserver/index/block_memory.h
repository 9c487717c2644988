// SPDX-License-Identifier: Apache-2.0
// Memory of the index's blocks.
#pragma once

#include <array>
#include <cstddef>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace droidspeak {

// Pieces of a few sizes, cut out of huge pages: an index of millions of blocks is looked up all over its memory, and
// with small pages half of that time goes into finding the pages. Pieces given back are used again for the same size;
// the pages stay until the end. Thread-safe.
class BlockMemory {
 public:
  BlockMemory() = default;
  ~BlockMemory();
  BlockMemory(const BlockMemory&) = delete;
  BlockMemory& operator=(const BlockMemory&) = delete;

  // `bytes` bytes, aligned to 16; at most kMaxBytes.
  void* Allocate(size_t bytes);
  // What Allocate() gave for as many bytes.
  void Free(void* piece, size_t bytes);

  // Taken from malloc.
  size_t taken_bytes() const;

  static constexpr size_t kMaxBytes = 1024;

 private:
  struct Piece {
    Piece* next;
  };
  static constexpr size_t kUnit = 16;
  static constexpr size_t kPageBytes = size_t{2} << 20;
  static size_t Units(size_t bytes) { return (bytes + kUnit - 1) / kUnit; }

  mutable absl::Mutex mutex_;
  size_t taken_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  std::vector<void*> pages_ ABSL_GUARDED_BY(mutex_);
  std::byte* rest_ ABSL_GUARDED_BY(mutex_) = nullptr;  // of the last page
  size_t rest_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  std::array<Piece*, kMaxBytes / kUnit + 1> free_ ABSL_GUARDED_BY(mutex_){};  // by size in units
};

}  // namespace droidspeak
