// SPDX-License-Identifier: Apache-2.0
#include "client/src/reactor.h"

#include <poll.h>

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
      spdlog::warn("transport {} cannot be used here: {}", name, std::string(worker.status().message()));
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
  bool first = false;
  {
    absl::MutexLock lock(&mutex_);
    first = posted_.empty();
    posted_.push_back(std::move(function));
  }
  if (first) wakeup_.Notify();
}

void Reactor::RunAndWait(absl::AnyInvocable<void()> function) {
  absl::Notification done;
  Post([&] {
    function();
    done.Notify();
  });
  done.WaitForNotification();
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
  const std::stop_callback wake(stop, [this] { wakeup_.Notify(); });
  absl::Time busy_until = absl::Now();
  while (!stop.stop_requested()) {
    int did = RunPosted();
    for (Driven& driven : driven_) did += driven.worker->Progress();
    const absl::Time now = absl::Now();
    if (did > 0) {
      busy_until = now + kSpin;
    } else if (now >= busy_until) {
      Sleep();
    }
  }
  RunPosted();
  driven_.clear();  // on the thread that used them
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

void Reactor::Sleep() {
  std::vector<pollfd> fds = {{wakeup_.fd(), POLLIN, 0}};
  for (Driven& driven : driven_) {
    if (!driven.worker->Arm()) return;
    fds.push_back({driven.worker->event_fd(), POLLIN, 0});
  }
  poll(fds.data(), fds.size(), -1);
  wakeup_.Drain();
}

}  // namespace droidspeak
