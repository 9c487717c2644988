// SPDX-License-Identifier: Apache-2.0
#include "cacheserver/index/block_memory.h"

#include <sys/mman.h>

#include <cstdlib>
#include <new>

#include "common/base/check.h"

namespace droidspeak {
namespace {

#ifdef DROIDSPEAK_SANITIZED
constexpr bool kFromMalloc = true;  // so that the sanitizer sees each piece
#else
constexpr bool kFromMalloc = false;
#endif

}  // namespace

BlockMemory::~BlockMemory() {
  for (void* page : pages_) std::free(page);
}

void* BlockMemory::Allocate(size_t bytes) {
  DROIDSPEAK_CHECK(bytes > 0 && bytes <= kMaxBytes);
  const size_t units = Units(bytes);
  absl::MutexLock lock(&mutex_);
  if (kFromMalloc) {
    taken_bytes_ += bytes;
    return ::operator new(bytes);
  }
  if (Piece* const piece = free_[units]; piece != nullptr) {
    free_[units] = piece->next;
    return piece;
  }
  if (rest_bytes_ < units * kUnit) {
    void* const page = std::aligned_alloc(kPageBytes, kPageBytes);
    if (page == nullptr) throw std::bad_alloc();
    ::madvise(page, kPageBytes, MADV_HUGEPAGE);  // a wish: small ones do as well
    pages_.push_back(page);
    taken_bytes_ += kPageBytes;
    rest_ = static_cast<std::byte*>(page);
    rest_bytes_ = kPageBytes;
  }
  std::byte* const piece = rest_;
  rest_ += units * kUnit;
  rest_bytes_ -= units * kUnit;
  return piece;
}

void BlockMemory::Free(void* piece, size_t bytes) {
  absl::MutexLock lock(&mutex_);
  if (kFromMalloc) {
    taken_bytes_ -= bytes;
    return ::operator delete(piece);
  }
  auto* const freed = static_cast<Piece*>(piece);
  Piece*& first = free_[Units(bytes)];
  freed->next = first;
  first = freed;
}

size_t BlockMemory::taken_bytes() const {
  absl::MutexLock lock(&mutex_);
  return taken_bytes_;
}

}  // namespace droidspeak
