// SPDX-License-Identifier: Apache-2.0
#include "common/base/end_signals.h"

#include <pthread.h>
#include <unistd.h>

#include "absl/synchronization/notification.h"

namespace droidspeak {
namespace {

void EndAtOnce(int number) {
  _exit(128 + number);
}

}  // namespace

EndSignals::EndSignals() {
  sigemptyset(&signals_);
  struct sigaction action {};
  action.sa_handler = EndAtOnce;
  for (const int number : {SIGTERM, SIGINT}) {
    sigaddset(&signals_, number);
    sigaction(number, &action, nullptr);
  }
  pthread_sigmask(SIG_BLOCK, &signals_, nullptr);
  signal(SIGPIPE, SIG_IGN);
  starting_ = std::make_unique<Thread>("starting", [this](const std::stop_token& stop) {
    pthread_sigmask(SIG_UNBLOCK, &signals_, nullptr);
    absl::Notification started;
    const std::stop_callback wake(stop, [&] { started.Notify(); });
    started.WaitForNotification();
  });
}

EndSignals::~EndSignals() = default;

std::string EndSignals::Wait() {
  int number = 0;
  sigwait(&signals_, &number);
  pthread_sigmask(SIG_UNBLOCK, &signals_, nullptr);
  return number == SIGTERM ? "SIGTERM" : "SIGINT";
}

}  // namespace droidspeak
