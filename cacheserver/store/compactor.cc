// SPDX-License-Identifier: Apache-2.0
#include "cacheserver/store/compactor.h"

#include <algorithm>
#include <utility>

#include "common/base/steady_now.h"

namespace droidspeak {
namespace {

// Garbage beyond this share of the budget is compacted away.
constexpr uint64_t kGarbageShare = 8;
// Of the files, what a round rewrites at most.
constexpr double kRoundShare = 1.0 / 16;
// How often garbage that a round could not free, or a tier that was degraded, is looked at again.
constexpr absl::Duration kPeriod = absl::Seconds(1);

}  // namespace

Compactor::Compactor(StoreCore* core) : core_(core) {
  if (core_->disk() == nullptr) return;
  thread_ = std::make_unique<Thread>("store-compact", [this](const std::stop_token&) { Run(); });
}

void Compactor::NoteRemoval() {
  absl::MutexLock lock(&mutex_);
  due_ = true;
}

bool Compactor::AwaitRoom(uint64_t bytes) {
  const absl::Time limit = SteadyNow() + core_->options().room_patience;
  while (!core_->disk()->HasRoom(bytes) && SteadyNow() < limit) {
    absl::MutexLock lock(&mutex_);
    if (stopping_ || core_->closing) return false;
    due_ = urgent_ = true;
    // One that is running may have begun before something was removed.
    const uint64_t enough = rounds_ + (running_ ? 2 : 1);
    const auto done = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return rounds_ >= enough || stopping_; };
    mutex_.AwaitWithTimeout(absl::Condition(&done), limit - SteadyNow());
  }
  return core_->disk()->HasRoom(bytes);
}

void Compactor::Drain() {
  if (thread_ == nullptr) return;
  absl::MutexLock lock(&mutex_);
  due_ = true;
  const auto done = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return (!due_ && !running_) || stopping_; };
  mutex_.Await(absl::Condition(&done));
}

void Compactor::Run() {
  while (!stopping_) {
    bool urgent = false;
    {
      absl::MutexLock lock(&mutex_);
      const auto due = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return due_ || stopping_; };
      mutex_.AwaitWithTimeout(absl::Condition(&due), kPeriod);
      urgent = std::exchange(urgent_, false);
      due_ = false;
      running_ = true;
    }
    const uint64_t before = GarbageBytes();
    if (!stopping_) CompactOnce(urgent);
    const bool again = MuchGarbage() && GarbageBytes() < before;
    absl::MutexLock lock(&mutex_);
    due_ |= again;
    running_ = false;
    ++rounds_;
  }
}

uint64_t Compactor::GarbageBytes() const {
  const uint64_t used = core_->disk()->disk_bytes();
  return used - std::min(used, core_->DiskLiveBytes());
}

bool Compactor::MuchGarbage() const {
  return GarbageBytes() >= core_->disk()->budget_bytes() / kGarbageShare;
}

void Compactor::CompactOnce(bool urgent) {
  RocksdbTier& disk = *core_->disk();
  for (const double share : {0.0, kRoundShare}) {
    if (disk.degraded() || (!urgent && !MuchGarbage())) return;
    if (!disk.Compact(share, stopping_).ok()) return;  // tried again in the next period
    urgent = false;
  }
}

void Compactor::Stop() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  if (thread_ != nullptr) thread_->Stop();
}

}  // namespace droidspeak
