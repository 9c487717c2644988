// SPDX-License-Identifier: Apache-2.0
// SIGTERM and SIGINT of a program that starts, which may take minutes, then serves, then ends in good order.
#pragma once

#include <signal.h>

#include <memory>
#include <string>

#include "common/base/thread.h"

namespace droidspeak {

// One in a process, made before its other threads: they leave the signals to it. SIGPIPE is ignored from then on.
// While the program starts, and again once it ends, a signal ends it at once with the exit code 128 + its number; as
// process 1 of a container, too, which by default would not hear it. Used by one thread.
class EndSignals {
 public:
  EndSignals();
  ~EndSignals();
  EndSignals(const EndSignals&) = delete;
  EndSignals& operator=(const EndSignals&) = delete;

  // The program serves from now on: to be called before anybody hears of that.
  void Started() { starting_.reset(); }
  // Waits for a signal; its name.
  [[nodiscard]] std::string Wait();

 private:
  sigset_t signals_;
  std::unique_ptr<Thread> starting_;  // takes the signals
};

}  // namespace droidspeak
