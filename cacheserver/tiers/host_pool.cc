// SPDX-License-Identifier: Apache-2.0
#include "cacheserver/tiers/host_pool.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/bytes.h"
#include "common/base/status.h"

namespace droidspeak {
namespace {

constexpr uint64_t kLeastStagingBytes = 16 << 20;
constexpr uint64_t kMostStagingBytes = 256 << 20;
constexpr uint64_t kLeastPoolBytes = 1 << 20;

uint64_t StagingBytes(uint64_t bytes) {
  const uint64_t wanted = std::clamp(bytes / 8, std::min(kLeastStagingBytes, bytes / 2), kMostStagingBytes);
  return wanted / SlabPool::kUnitBytes * SlabPool::kUnitBytes;
}

}  // namespace

void StagingPool::Take(uint64_t bytes, Taker taker) {
  {
    absl::MutexLock lock(&mutex_);
    if (!closed_) waiters_.push_back({bytes, std::exchange(taker, nullptr)});
  }
  if (taker) {
    taker(nullptr);
  } else {
    ServeWaiters();
  }
}

void StagingPool::Give(const std::byte* buffer) {
  slots_.Free(const_cast<std::byte*>(buffer));
  ServeWaiters();
}

void StagingPool::ServeWaiters() {
  while (true) {
    Taker taker;
    std::byte* buffer = nullptr;
    {
      absl::MutexLock lock(&mutex_);
      if (waiters_.empty()) return;
      buffer = slots_.Allocate(waiters_.front().bytes);
      if (buffer == nullptr) return;
      taker = std::move(waiters_.front().taker);
      waiters_.pop_front();
    }
    taker(buffer);
  }
}

void StagingPool::Close() {
  std::deque<Waiter> waiters;
  {
    absl::MutexLock lock(&mutex_);
    closed_ = true;
    waiters.swap(waiters_);
  }
  for (Waiter& waiter : waiters) waiter.taker(nullptr);
}

absl::StatusOr<std::unique_ptr<HostPool>> HostPool::Create(uint64_t bytes) {
  if (bytes < kLeastPoolBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("a host pool of ", FormatBytes(bytes), " is too small: expected at least 1 MiB"));
  }
  ASSIGN_OR_RETURN(std::unique_ptr<HostArena> arena, HostArena::Create("droidspeak-pool", bytes));
  const uint64_t staging_bytes = StagingBytes(bytes);
  return std::unique_ptr<HostPool>(new HostPool(std::move(arena), staging_bytes));
}

HostPool::HostPool(std::unique_ptr<HostArena> arena, uint64_t staging_bytes)
    : arena_(std::move(arena)),
      slots_(arena_->base(), arena_->bytes() - staging_bytes),
      staging_(arena_->base() + (arena_->bytes() - staging_bytes) / SlabPool::kUnitBytes * SlabPool::kUnitBytes,
               staging_bytes),
      // Two in the reserve, so that one is read while another is sent.
      max_extent_bytes_(staging_bytes / 2) {}

}  // namespace droidspeak
