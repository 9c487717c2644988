// SPDX-License-Identifier: Apache-2.0
// Work for the data thread from other threads.
#pragma once

#include <functional>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "common/base/wakeup.h"

namespace droidspeak {

// Thread-safe, except Own() and Run(), which belong to the data thread. Kept by shared_ptr, so that a callback which
// comes after the data thread has ended finds something to post to; what is never run is destroyed with the inbox.
class Inbox {
 public:
  using Work = std::function<void()>;

  // The calling thread is the one that runs the work: its own posts need no wake-up.
  void Own();
  void Post(Work work);
  // Makes the thread look around without giving it work.
  void Wake() const { wakeup_.Notify(); }
  // Runs what was posted before the call; returns how much.
  int Run();
  // Nothing to run. To be asked before sleeping: posts from the own thread don't wake it.
  bool empty() const;
  // Takes no more work, and drops what was not run.
  void Close();

  const Wakeup& wakeup() const { return wakeup_; }

 private:
  const Wakeup wakeup_;
  mutable absl::Mutex mutex_;
  std::thread::id owner_ ABSL_GUARDED_BY(mutex_);
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<Work> work_ ABSL_GUARDED_BY(mutex_);
  std::vector<Work> running_;
};

}  // namespace droidspeak
