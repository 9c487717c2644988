// SPDX-License-Identifier: Apache-2.0
#include "client/src/reactor.h"

#include <poll.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_join.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "common/base/log.h"
#include "common/base/status.h"

namespace droidspeak {
namespace {

// How long to look for more before sleeping: an answer over loopback takes about this long, a sleep costs a few
// microseconds to end, and whoever computes on this core pays for longer ones.
constexpr absl::Duration kSpin = absl::Microseconds(20);
// A caller that begins to wait looks longer: it has nothing else to do, and a small answer comes before a sleep ends.
constexpr absl::Duration kFirstSpin = absl::Microseconds(50);
// How long callers may stay away between two turns before the thread takes over. What arrives meanwhile waits in the
// sockets' buffers; waking the thread after each turn would cost more than most turns do.
constexpr absl::Duration kPatience = absl::Microseconds(300);

}  // namespace

absl::StatusOr<std::unique_ptr<Reactor>> Reactor::Create(const std::vector<std::string>& transports) {
  std::vector<Driven> driven;
  std::vector<std::string> reasons;
  for (const std::string& name : transports) {
    ASSIGN_OR_RETURN(const Transport* transport, FindTransport(name));
    absl::StatusOr<std::unique_ptr<Worker>> worker = transport->CreateWorker();
    if (worker.ok()) {
      driven.push_back({name, *std::move(worker)});
    } else {
      reasons.push_back(absl::StrCat(name, ": ", worker.status().message()));
      // Most hosts have no RDMA device: that is nothing to be told of.
      const auto level = absl::IsNotFound(worker.status()) ? spdlog::level::debug : spdlog::level::warn;
      spdlog::log(level, "transport {} cannot be used here: {}", name, std::string(worker.status().message()));
    }
  }
  if (driven.empty()) {
    return absl::UnavailableError(absl::StrCat("no transport can be used here: ", absl::StrJoin(reasons, "; ")));
  }
  return std::unique_ptr<Reactor>(new Reactor(std::move(driven)));
}

Reactor::Reactor(std::vector<Driven> driven) : driven_(std::move(driven)) {
  thread_ = std::make_unique<Thread>("ds-client-io", [this](const std::stop_token& stop) { Run(stop); });
}

Reactor::~Reactor() {
  thread_->Stop();
}

void Reactor::Post(absl::AnyInvocable<void()> function) {
  absl::MutexLock lock(&mutex_);
  posted_.push_back(std::move(function));
  if (driver_ == Driver::kNobody) thread_wanted_ = true;
  // One that is awake looks before it sleeps or leaves; one that sleeps has been told of the first.
  const bool asleep = driver_ == Driver::kThreadAsleep || driver_ == Driver::kCallerAsleep;
  if (asleep && posted_.size() == 1) wakeup_.Notify();
}

void Reactor::RunAndWait(absl::AnyInvocable<void()> function) {
  absl::Notification done;
  Post([&] {
    function();
    done.Notify();
  });
  done.WaitForNotification();
}

bool Reactor::Await(absl::Mutex& mutex, const absl::Condition& condition, absl::Time deadline) {
  if (condition.Eval()) return true;
  mutex.Unlock();
  bool drives = false;
  {
    absl::MutexLock lock(&mutex_);
    drives = CallerTakesOver();
    if (!drives) ++waiting_;
  }
  if (drives) {
    DriveUntil(
        [&] {
          absl::MutexLock lock(&mutex);
          return condition.Eval();
        },
        deadline);
    CallerLeaves();
  }
  mutex.Lock();
  const bool holds = mutex.AwaitWithDeadline(condition, deadline);
  if (!drives) {
    absl::MutexLock lock(&mutex_);
    --waiting_;
  }
  return holds;
}

Reactor::Turn::Turn(Reactor& reactor) : reactor_(reactor) {
  absl::MutexLock lock(&reactor_.mutex_);
  taken_ = reactor_.CallerTakesOver();
}

Reactor::Turn::~Turn() {
  if (!taken_) return;
  reactor_.RunPosted();
  reactor_.CallerLeaves();
}

Worker* Reactor::worker(std::string_view transport) const {
  for (const Driven& driven : driven_) {
    if (driven.transport == transport) return driven.worker.get();
  }
  return nullptr;
}

std::vector<std::string> Reactor::transports() const {
  std::vector<std::string> names;
  names.reserve(driven_.size());
  for (const Driven& driven : driven_) names.push_back(driven.transport);
  return names;
}

void Reactor::Run(const std::stop_token& stop) {
  const std::stop_callback wake(stop, [this] {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
    wakeup_.Notify();
  });
  absl::Time busy_until = absl::Now();
  while (!stop.stop_requested()) {
    const int did = Step();
    const absl::Time now = absl::Now();
    if (did > 0) {
      busy_until = now + kSpin;
    } else if (now >= busy_until && !Sleep(Driver::kThreadAsleep, absl::InfiniteFuture())) {
      ThreadTakesOver();
    }
  }
  RunPosted();
  driven_.clear();  // on the thread that used them last
}

void Reactor::ThreadTakesOver() {
  absl::MutexLock lock(&mutex_);
  thread_parked_ = true;
  const auto wanted = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return stopping_ || (thread_wanted_ && driver_ == Driver::kNobody);
  };
  uint64_t seen = 0;
  do {
    seen = turns_;
  } while (!mutex_.AwaitWithTimeout(absl::Condition(&wanted), kPatience) &&
           (driver_ != Driver::kNobody || turns_ != seen));
  thread_parked_ = false;
  thread_wanted_ = false;
  driver_ = Driver::kThread;
}

bool Reactor::CallerTakesOver() {
  if (driver_ != Driver::kNobody && driver_ != Driver::kThreadAsleep) return false;
  driver_ = Driver::kCaller;
  ++turns_;
  return true;
}

void Reactor::CallerLeaves() {
  absl::MutexLock lock(&mutex_);
  driver_ = Driver::kNobody;
  if (waiting_ > 0 || !posted_.empty()) thread_wanted_ = true;
  // In poll() it would miss what happens from now on: workers are armed for whoever slept last.
  if (!thread_parked_) wakeup_.Notify();
}

void Reactor::DriveUntil(absl::FunctionRef<bool()> done, absl::Time deadline) {
  absl::Time now = absl::Now();
  absl::Time busy_until = now + kFirstSpin;
  while (!done() && now < deadline) {
    const int did = Step();
    now = absl::Now();
    if (did > 0) {
      busy_until = std::max(busy_until, now + kSpin);
    } else if (now >= busy_until) {
      Sleep(Driver::kCallerAsleep, deadline);
      now = absl::Now();
    }
  }
}

int Reactor::Step() {
  int did = RunPosted();
  for (Driven& driven : driven_) did += driven.worker->Progress();
  return did;
}

int Reactor::RunPosted() {
  std::vector<absl::AnyInvocable<void()>> functions;
  {
    absl::MutexLock lock(&mutex_);
    functions.swap(posted_);
  }
  for (auto& function : functions) function();
  return static_cast<int>(functions.size());
}

bool Reactor::Sleep(Driver asleep, absl::Time deadline) {
  std::vector<pollfd> fds = {{wakeup_.fd(), POLLIN, 0}};
  for (Driven& driven : driven_) {
    if (!driven.worker->Arm()) return true;
    fds.push_back({driven.worker->event_fd(), POLLIN, 0});
  }
  Driver awake = Driver::kThread;
  {
    absl::MutexLock lock(&mutex_);
    if (!posted_.empty() || stopping_) return true;
    awake = std::exchange(driver_, asleep);
  }
  timespec limit = absl::ToTimespec(std::max(deadline - absl::Now(), absl::ZeroDuration()));
  ppoll(fds.data(), fds.size(), deadline == absl::InfiniteFuture() ? nullptr : &limit, nullptr);
  absl::MutexLock lock(&mutex_);
  if (driver_ != asleep) return false;
  driver_ = awake;
  wakeup_.Drain();
  return true;
}

}  // namespace droidspeak
