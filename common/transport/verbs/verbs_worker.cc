// SPDX-License-Identifier: Apache-2.0
// The device and the channels; verbs_progress.cc has what happens on them.
#include "common/transport/verbs/verbs_worker.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/files.h"
#include "common/base/log.h"
#include "common/base/status.h"

namespace droidspeak::verbs {
namespace {

// Room for 64 queue pairs, 0.5 MiB: not every device can make it larger later.
constexpr int kFirstCompletions = 8192;
// How long a worker that is destroyed lets its channels say goodbye.
constexpr absl::Duration kDrainLimit = absl::Seconds(1);
// One queue pair is one engine of a device, which does about 200 Gbit/s.
constexpr double kGigabitsAQueuePair = 200;
constexpr size_t kMostChosenQueuePairs = 4;

}  // namespace

VerbsWorker::VerbsWorker(OwnedFd epoll, OwnedFd timer, size_t queue_pairs)
    : epoll_(std::move(epoll)),
      timer_(std::move(timer)),
      wanted_queue_pairs_(queue_pairs),
      alive_(std::make_shared<VerbsWorker*>(this)),
      now_(absl::Now()) {}

absl::StatusOr<std::unique_ptr<Worker>> VerbsWorker::Create(size_t queue_pairs) {
  OwnedFd epoll(::epoll_create1(EPOLL_CLOEXEC));
  OwnedFd timer(::timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC));
  if (!epoll.valid() || !timer.valid()) return ErrnoStatus(errno, "creating a verbs worker");
  std::unique_ptr<VerbsWorker> worker(new VerbsWorker(std::move(epoll), std::move(timer), queue_pairs));
  RETURN_IF_ERROR(worker->Watch(Source::kTimer, worker->timer_.get()));
  RETURN_IF_ERROR(worker->OpenDevice());
  return worker;
}

VerbsWorker::~VerbsWorker() {
  *alive_ = nullptr;
  for (const auto& [id, channel] : channels_) channel->Close();
  const absl::Time limit = absl::Now() + kDrainLimit;
  const auto quiet = [&] {
    return std::all_of(channels_.begin(), channels_.end(), [](const auto& one) { return !one.second->ending(); });
  };
  while (!quiet() && absl::Now() < limit) Progress();
  channels_.clear();
  CloseDevice();
}

absl::Status VerbsWorker::Watch(Source source, int fd) {
  epoll_event event{EPOLLIN, {.u32 = static_cast<uint32_t>(source)}};
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) == 0) return absl::OkStatus();
  return ErrnoStatus(errno, "watching an RDMA device");
}

absl::Status VerbsWorker::OpenDevice() {
  if (lost_) return absl::UnavailableError("the RDMA device has failed");
  if (device_ != nullptr) {
    if (port_lost_) RETURN_IF_ERROR(device_->LookAgain());
    port_lost_ = false;
    return absl::OkStatus();
  }
  const absl::Status set_up = SetUpDevice();
  if (!set_up.ok()) CloseDevice();
  return set_up;
}

absl::Status VerbsWorker::SetUpDevice() {
  ASSIGN_OR_RETURN(device_, Device::Open());
  notifications_.reset(ibv_create_comp_channel(device_->context()));
  if (notifications_ == nullptr) {
    return ErrnoStatus(errno, absl::StrCat("making a completion channel of ", device_->name()));
  }
  RETURN_IF_ERROR(MakeNonBlocking(notifications_->fd));
  const int completions = std::min(kFirstCompletions, device_->attributes().max_cqe);
  RETURN_IF_ERROR(Take(ibv_create_cq(device_->context(), completions, nullptr, notifications_.get(), 0),
                       absl::StrCat("making a completion queue of ", device_->name()), completions_));
  capacity_ = completions_->cqe;
  // Some devices that libibverbs knows have no reliable connections.
  RETURN_IF_ERROR(QueuePair::Create(*device_, device_->domain(), completions_.get(), false).status());
  RETURN_IF_ERROR(Watch(Source::kCompletions, notifications_->fd));
  RETURN_IF_ERROR(Watch(Source::kDevice, device_->context()->async_fd));
  for (Registered& one : registered_) {
    ASSIGN_OR_RETURN(one.registration, RegisterMemory(device_->domain(), one.memory, IBV_ACCESS_LOCAL_WRITE));
  }
  return absl::OkStatus();
}

void VerbsWorker::CloseDevice() {
  for (Registered& one : registered_) one.registration.reset();
  // A queue with events that nobody has acknowledged is never destroyed.
  if (completions_ != nullptr) ibv_ack_cq_events(completions_.get(), std::exchange(unacknowledged_, 0));
  early_.clear();
  // Closing them is not enough where a process that was forked has them as well.
  if (notifications_ != nullptr) ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, notifications_->fd, nullptr);
  if (device_ != nullptr) ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, device_->context()->async_fd, nullptr);
  completions_.reset();
  notifications_.reset();
  device_.reset();
  port_lost_ = lost_ = false;
}

void VerbsWorker::LosePort(const absl::Status& why) {
  spdlog::warn("verbs: {}", std::string(why.message()));
  for (const auto& [id, channel] : channels_) channel->End(why, false);
  port_lost_ = true;
}

void VerbsWorker::LoseDevice(const absl::Status& why) {
  LosePort(why);
  lost_ = true;
}

absl::StatusOr<std::string> VerbsWorker::Listen(const std::string&, AcceptFunction accept) {
  if (accept_ != nullptr) return absl::FailedPreconditionError("this worker listens already");
  accept_ = std::move(accept);
  return device_ == nullptr ? "" : device_->name();
}

absl::StatusOr<std::unique_ptr<Connection>> VerbsWorker::Connect(const std::string&, ConnectionEvents*) {
  return absl::FailedPreconditionError("verbs: both ends must be introduced to each other");
}

absl::Status VerbsWorker::Register(const MemoryRegion& memory) {
  RETURN_IF_ERROR(OpenDevice());
  ASSIGN_OR_RETURN(Registration registration, RegisterMemory(device_->domain(), memory, IBV_ACCESS_LOCAL_WRITE));
  registered_.push_back({memory, std::move(registration)});
  return absl::OkStatus();
}

std::optional<VerbsWorker::Local> VerbsWorker::FindLocal(const std::byte* memory, uint64_t bytes) const {
  for (const Registered& one : registered_) {
    const bool within = memory >= one.memory.base && bytes <= one.memory.bytes &&
                        static_cast<uint64_t>(memory - one.memory.base) <= one.memory.bytes - bytes;
    if (!within || one.registration == nullptr) continue;
    return Local{one.registration->lkey, FlushOf(one.memory)};
  }
  return std::nullopt;
}

// Each work request may have a completion, when its queue pair fails.
absl::Status VerbsWorker::MakeRoom(size_t queue_pairs) {
  for (const auto& [id, channel] : channels_) queue_pairs += channel->queue_pairs();
  const size_t wanted = queue_pairs * (kMostSendRequests + kReceives);
  if (wanted <= static_cast<size_t>(capacity_)) return absl::OkStatus();
  const size_t most = device_->attributes().max_cqe;
  const size_t doubled = std::min(std::max<size_t>(wanted, 2 * capacity_), most);
  if (wanted > most || ibv_resize_cq(completions_.get(), static_cast<int>(doubled)) != 0) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the RDMA device ", device_->name(), " has no room for another connection"));
  }
  capacity_ = completions_->cqe;
  return absl::OkStatus();
}

absl::StatusOr<VerbsChannel*> VerbsWorker::AddChannel(VerbsChannel::Role role, size_t queue_pairs) {
  RETURN_IF_ERROR(OpenDevice());
  RETURN_IF_ERROR(MakeRoom(queue_pairs));
  const uint64_t id = ++last_id_;
  ASSIGN_OR_RETURN(std::unique_ptr<VerbsChannel> owned, VerbsChannel::Create(*this, id, role, queue_pairs));
  VerbsChannel* const channel = owned.get();
  channels_.emplace(id, std::move(owned));
  SetTimer();
  return channel;
}

absl::StatusOr<std::unique_ptr<Connection>> VerbsWorker::ConnectIntroduced(const Introduce& introduce,
                                                                           ConnectionEvents* events) {
  RETURN_IF_ERROR(OpenDevice());
  size_t queue_pairs = wanted_queue_pairs_;
  if (queue_pairs == 0) {
    queue_pairs = static_cast<size_t>(device_->gigabits() / kGigabitsAQueuePair);
    queue_pairs = std::clamp<size_t>(queue_pairs, 1, kMostChosenQueuePairs);
  }
  ASSIGN_OR_RETURN(VerbsChannel* const channel, AddChannel(VerbsChannel::Role::kClient, queue_pairs));
  auto connection = std::make_unique<VerbsConnection>(channel);
  channel->set_events(events);
  introduce(channel->introduction().Encode(),
            [alive = alive_, id = channel->id()](const absl::StatusOr<std::string>& answer) {
              if (*alive != nullptr) (*alive)->OnAnswer(id, answer);
            });
  return connection;
}

void VerbsWorker::OnAnswer(uint64_t id, const absl::StatusOr<std::string>& answer) {
  VerbsChannel* const channel = Find(id);
  if (channel == nullptr || !channel->connecting()) return;  // it has ended meanwhile
  absl::Status connected = answer.status();
  if (answer.ok()) {
    const absl::StatusOr<Introduction> peer = Introduction::Decode(*answer);
    connected = peer.ok() ? channel->Connect(*peer) : peer.status();
  }
  if (!connected.ok()) channel->End(connected, false);
}

absl::StatusOr<std::string> VerbsWorker::Answer(std::string_view words) {
  if (accept_ == nullptr) return absl::UnavailableError("nobody listens");
  ASSIGN_OR_RETURN(const Introduction client, Introduction::Decode(words));
  ASSIGN_OR_RETURN(VerbsChannel* const channel, AddChannel(VerbsChannel::Role::kServer, client.queue_pairs));
  auto connection = std::make_unique<VerbsConnection>(channel);
  RETURN_IF_ERROR(channel->Connect(client));
  ConnectionEvents* const events = accept_(std::move(connection));
  if (events == nullptr) return absl::UnavailableError("the server takes no more connections");
  channel->set_events(events);
  return channel->introduction().Encode();
}

}  // namespace droidspeak::verbs
