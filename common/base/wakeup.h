// SPDX-License-Identifier: Apache-2.0
// Wakes a thread that sleeps in poll(): an eventfd.
#pragma once

#include "absl/time/time.h"

namespace droidspeak {

// Any thread may Notify(); notifications before a Drain() fall together. Thread-safe.
class Wakeup {
 public:
  Wakeup();
  ~Wakeup();
  Wakeup(const Wakeup&) = delete;
  Wakeup& operator=(const Wakeup&) = delete;

  // Makes fd() readable. Async-signal-safe.
  void Notify() const;
  // Makes fd() not readable; true if there had been a notification.
  bool Drain() const;
  // Sleeps until notified or `timeout` has passed, then drains; true if notified.
  bool Wait(absl::Duration timeout) const;

  int fd() const { return fd_; }

 private:
  const int fd_;
};

}  // namespace droidspeak
