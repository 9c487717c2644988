// SPDX-License-Identifier: Apache-2.0
// The client's one thread that moves messages: it drives every transport's worker.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "common/base/thread.h"
#include "common/base/wakeup.h"
#include "common/transport/transport.h"

namespace droidspeak {

// Owns the workers and the thread that calls them. Connections live on that thread: they are made, used and destroyed
// by posted functions and by event handlers only. Busy for a moment after each event, asleep otherwise.
class Reactor {
 public:
  // A worker of each named transport; those that cannot be made here are left out, with a message in the log.
  // UNAVAILABLE when none can be made.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<Reactor>> Create(const std::vector<std::string>& transports);
  // Runs what is still posted, then ends the thread.
  ~Reactor();

  // Runs `function` soon on the reactor's thread, in the order posted. Thread-safe.
  void Post(absl::AnyInvocable<void()> function);
  // Runs `function` there and waits until it has ended. Not from the reactor's own thread.
  void RunAndWait(absl::AnyInvocable<void()> function);

  // The worker of a transport, or null. To be used on the reactor's thread.
  Worker* worker(std::string_view transport) const;

  // Names of the transports that there are workers of, in the order given to Create.
  std::vector<std::string> transports() const;

 private:
  struct Driven {
    std::string transport;
    std::unique_ptr<Worker> worker;
  };
  explicit Reactor(std::vector<Driven> driven);
  void Run(const std::stop_token& stop);
  int RunPosted();
  void Sleep();

  std::vector<Driven> driven_;
  Wakeup wakeup_;
  absl::Mutex mutex_;
  std::vector<absl::AnyInvocable<void()>> posted_ ABSL_GUARDED_BY(mutex_);
  std::unique_ptr<Thread> thread_;  // last: it uses all of the above
};

}  // namespace droidspeak
