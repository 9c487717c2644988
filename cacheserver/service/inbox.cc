// SPDX-License-Identifier: Apache-2.0
#include "cacheserver/service/inbox.h"

#include <utility>

namespace droidspeak {

void Inbox::Own() {
  absl::MutexLock lock(&mutex_);
  owner_ = std::this_thread::get_id();
}

void Inbox::Post(Work work) {
  bool wake = false;
  {
    absl::MutexLock lock(&mutex_);
    if (closed_) return;
    wake = work_.empty() && owner_ != std::this_thread::get_id();
    work_.push_back(std::move(work));
  }
  if (wake) wakeup_.Notify();
}

int Inbox::Run() {
  {
    absl::MutexLock lock(&mutex_);
    running_.swap(work_);
  }
  const int count = static_cast<int>(running_.size());
  for (Work& work : running_) work();
  running_.clear();
  return count;
}

bool Inbox::empty() const {
  absl::MutexLock lock(&mutex_);
  return work_.empty();
}

void Inbox::Close() {
  std::vector<Work> dropped;
  absl::MutexLock lock(&mutex_);
  closed_ = true;
  dropped.swap(work_);
}

}  // namespace droidspeak
