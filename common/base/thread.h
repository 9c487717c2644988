// SPDX-License-Identifier: Apache-2.0
// Threads have an owner, a name and an end.
#pragma once

#include <functional>
#include <stop_token>
#include <string>
#include <thread>

namespace droidspeak {

// Runs `body` on a thread named `name` (its first 15 characters, as seen in top and gdb). `body` returns soon after its
// token asks it to; a body that sleeps in poll() registers a std::stop_callback that notifies a Wakeup.
// The owner calls Stop() or destroys it, from another thread than the body's.
class Thread {
 public:
  Thread(const std::string& name, std::function<void(std::stop_token)> body);
  ~Thread() { Stop(); }
  Thread(const Thread&) = delete;
  Thread& operator=(const Thread&) = delete;

  // Asks the body to end, without waiting.
  void RequestStop() { thread_.request_stop(); }
  // Asks the body to end and waits until it has. Idempotent.
  void Stop();

 private:
  std::jthread thread_;
};

}  // namespace droidspeak
