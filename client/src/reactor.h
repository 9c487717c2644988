// SPDX-License-Identifier: Apache-2.0
// What moves the client's messages: it drives every transport's worker, on whatever thread waits for an answer, and on
// a thread of its own when none does.
#pragma once

#include <memory>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/any_invocable.h"
#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/base/thread.h"
#include "common/base/wakeup.h"
#include "common/transport/transport.h"

namespace droidspeak {

// Owns the workers and a thread. One thread at a time drives: connections are made, used and destroyed by posted
// functions and by event handlers only, which all run on the thread that drives. It is busy for a moment after each
// event, asleep otherwise. A thread that waits drives by itself where it can, since an answer that another thread has
// to hand over costs two wakings more than the answer itself. No caller is inside when the reactor is destroyed.
class Reactor {
 public:
  // A worker of each named transport; those that cannot be made here are left out, with a message in the log.
  // UNAVAILABLE when none can be made.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<Reactor>> Create(const std::vector<std::string>& transports);
  // Runs what is still posted, then ends the thread.
  ~Reactor();

  // Runs `function` soon, on the thread that drives, in the order posted. Thread-safe; never runs it before it returns.
  void Post(absl::AnyInvocable<void()> function);
  // Runs `function` there and waits until it has ended. Not from a posted function or an event handler.
  void RunAndWait(absl::AnyInvocable<void()> function);

  // As mutex.AwaitWithDeadline(): waits, with `mutex` released meanwhile, until `condition` holds, which posted
  // functions and event handlers bring about under that mutex; false at the deadline. Drives, if nobody else does.
  bool Await(absl::Mutex& mutex, const absl::Condition& condition, absl::Time deadline)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);

  // While it lives, what its thread posts waits for its end and then runs there, if nobody else drives: for requests
  // whose answers the same thread will wait for. To be held without locks, and shortly.
  class Turn {
   public:
    explicit Turn(Reactor& reactor);
    ~Turn();
    Turn(const Turn&) = delete;
    Turn& operator=(const Turn&) = delete;

   private:
    Reactor& reactor_;
    bool taken_ = false;
  };

  // The worker of a transport, or null. To be used by posted functions.
  Worker* worker(std::string_view transport) const;

  // Names of the transports that there are workers of, in the order given to Create.
  std::vector<std::string> transports() const;

 private:
  struct Driven {
    std::string transport;
    std::unique_ptr<Worker> worker;
  };
  enum class Driver { kNobody, kThread, kThreadAsleep, kCaller, kCallerAsleep };

  explicit Reactor(std::vector<Driven> driven);
  void Run(const std::stop_token& stop);
  void ThreadTakesOver();
  // Takes the turn from nobody or from the sleeping thread.
  bool CallerTakesOver() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void CallerLeaves() ABSL_LOCKS_EXCLUDED(mutex_);
  void DriveUntil(absl::FunctionRef<bool()> done, absl::Time deadline);
  int Step();
  int RunPosted() ABSL_LOCKS_EXCLUDED(mutex_);
  // Sleeps as `asleep` until there is something to do; false when another thread took over meanwhile.
  bool Sleep(Driver asleep, absl::Time deadline) ABSL_LOCKS_EXCLUDED(mutex_);

  std::vector<Driven> driven_;  // their workers: whoever drives
  Wakeup wakeup_;               // of the driver that sleeps, and of the thread that slept when a caller took over
  absl::Mutex mutex_;
  std::vector<absl::AnyInvocable<void()>> posted_ ABSL_GUARDED_BY(mutex_);
  Driver driver_ ABSL_GUARDED_BY(mutex_) = Driver::kThread;
  bool thread_parked_ ABSL_GUARDED_BY(mutex_) = false;  // waits for its turn: it is not in poll()
  bool thread_wanted_ ABSL_GUARDED_BY(mutex_) = false;  // at once, since somebody waits
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  int waiting_ ABSL_GUARDED_BY(mutex_) = 0;     // callers that wait while another thread drives
  uint64_t turns_ ABSL_GUARDED_BY(mutex_) = 0;  // that callers have taken
  std::unique_ptr<Thread> thread_;              // last: it uses all of the above
};

}  // namespace droidspeak
