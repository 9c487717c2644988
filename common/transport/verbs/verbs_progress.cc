// SPDX-License-Identifier: Apache-2.0
// What a worker does in its Progress() and before it sleeps: completions, its channels' turns, the device's events.
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/status.h"
#include "common/transport/verbs/verbs_worker.h"

namespace droidspeak::verbs {
namespace {

constexpr int kCompletionsAtOnce = 32;
constexpr unsigned kAcknowledgeAfter = 256;
constexpr int kSources = 3;
constexpr absl::Duration kLookInterval = absl::Milliseconds(100);
constexpr absl::Duration kProbeInterval = absl::Milliseconds(500);

}  // namespace

VerbsChannel* VerbsWorker::Find(uint64_t id) const {
  const auto found = channels_.find(id);
  return found == channels_.end() ? nullptr : found->second.get();
}

void VerbsWorker::GiveTurn(VerbsChannel* channel) {
  if (!std::exchange(channel->in_turn_, true)) turns_.push_back(channel->id());
}

int VerbsWorker::RunTurns() {
  int done = 0;
  for (const uint64_t id : std::exchange(turns_, {})) {
    VerbsChannel* const channel = Find(id);
    channel->in_turn_ = false;
    done += channel->Turn(now_);
    if (channel->disposable() && !channel->in_turn_) channels_.erase(id);
  }
  return done;
}

int VerbsWorker::PollCompletions() {
  if (completions_ == nullptr) return 0;
  const std::vector<ibv_wc> early = std::exchange(early_, {});
  for (const ibv_wc& one : early) Handle(one);
  if (!early.empty()) return static_cast<int>(early.size());
  std::array<ibv_wc, kCompletionsAtOnce> completions;
  const int count = ibv_poll_cq(completions_.get(), kCompletionsAtOnce, completions.data());
  if (count < 0 && !lost_) {
    LoseDevice(absl::UnavailableError(absl::StrCat("the completion queue of ", device_->name(), " has failed")));
  }
  for (int i = 0; i < count; ++i) Handle(completions[i]);
  return std::max(count, 0);
}

void VerbsWorker::Handle(const ibv_wc& completion) {
  VerbsChannel* const channel = Find(completion.wr_id >> 16);
  if (channel == nullptr) return;  // of queue pairs that are gone
  const auto which = static_cast<uint32_t>(completion.wr_id & 0xffff) >> 1;
  if (completion.status != IBV_WC_SUCCESS) return channel->OnFailed(completion);
  if ((completion.wr_id & 1) != 0) return channel->OnReceived(which, completion.byte_len);
  channel->OnSent(which);
}

int VerbsWorker::Progress() {
  now_ = absl::Now();
  int done = PollCompletions();
  if (now_ >= next_look_) {
    next_look_ = now_ + kLookInterval;
    done += Look();
  }
  done += RunTurns();
  if (lost_ && channels_.empty()) CloseDevice();
  return done;
}

int VerbsWorker::Look() {
  std::array<epoll_event, kSources> events;
  const int ready = ::epoll_wait(epoll_.get(), events.data(), kSources, 0);
  int done = 0;
  for (int i = 0; i < ready; ++i) {
    switch (static_cast<Source>(events[i].data.u32)) {
      case Source::kTimer:
        done += ReadTimer();
        break;
      case Source::kDevice:
        done += ReadDeviceEvents();
        break;
      case Source::kCompletions:
        ReadNotifications();
        break;
    }
  }
  return done;
}

void VerbsWorker::ReadNotifications() {
  ibv_cq* queue = nullptr;
  void* context = nullptr;
  while (ibv_get_cq_event(notifications_.get(), &queue, &context) == 0) ++unacknowledged_;
  if (unacknowledged_ >= kAcknowledgeAfter) ibv_ack_cq_events(completions_.get(), std::exchange(unacknowledged_, 0));
}

int VerbsWorker::ReadTimer() {
  uint64_t times = 0;
  if (::read(timer_.get(), &times, sizeof(times)) != sizeof(times)) return 0;
  for (const auto& [id, channel] : channels_) channel->Probe(now_);
  SetTimer();
  return 1;
}

// Runs while there are connections to probe.
void VerbsWorker::SetTimer() {
  if (timer_runs_ == !channels_.empty()) return;
  timer_runs_ = !channels_.empty();
  itimerspec every{};
  if (timer_runs_) every.it_interval = every.it_value = absl::ToTimespec(kProbeInterval);
  ::timerfd_settime(timer_.get(), 0, &every, nullptr);
}

int VerbsWorker::ReadDeviceEvents() {
  int done = 0;
  ibv_async_event event{};
  while (ibv_get_async_event(device_->context(), &event) == 0) {
    const std::string what = ibv_event_type_str(event.event_type);
    const bool fatal = event.event_type == IBV_EVENT_DEVICE_FATAL || event.event_type == IBV_EVENT_CQ_ERR;
    ibv_ack_async_event(&event);
    ++done;
    if (fatal && !lost_) LoseDevice(absl::UnavailableError(what));
    // An event of one queue pair comes with that queue pair's completions.
    const absl::Status port = device_->Check();
    if (!port.ok() && !port_lost_) LosePort(Annotate(port, what));
  }
  return done;
}

bool VerbsWorker::Arm() {
  if (!turns_.empty() || !early_.empty()) return false;
  if (Look() > 0) return false;
  if (completions_ == nullptr) return true;
  if (ibv_req_notify_cq(completions_.get(), 0) != 0) return false;
  // What came before that is told of from Progress().
  early_.resize(kCompletionsAtOnce);
  early_.resize(std::max(ibv_poll_cq(completions_.get(), kCompletionsAtOnce, early_.data()), 0));
  return early_.empty();
}

}  // namespace droidspeak::verbs
