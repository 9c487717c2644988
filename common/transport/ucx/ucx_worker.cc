// SPDX-License-Identifier: Apache-2.0
#include "common/transport/ucx/ucx_worker.h"

#include <errno.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/files.h"
#include "common/base/log.h"
#include "common/base/status.h"

namespace droidspeak::ucx {
namespace {

// How long a worker that is destroyed waits for UCX to let go of its connections. It takes milliseconds.
constexpr absl::Duration kDrainLimit = absl::Seconds(5);

// Rounds of UCX's progress before the user is told of what came in.
constexpr int kRounds = 8;

}  // namespace

absl::StatusOr<std::unique_ptr<Worker>> UcxWorker::Create() {
  const int epoll = ::epoll_create1(EPOLL_CLOEXEC);
  if (epoll < 0) return ErrnoStatus(errno, "creating a UCX worker");
  return std::unique_ptr<Worker>(new UcxWorker(epoll));
}

UcxWorker::~UcxWorker() {
  for (const ucp_conn_request_h request : requests_) ucp_listener_reject(listener_, request);
  if (listener_ != nullptr) ucp_listener_destroy(listener_);
  listener_ = nullptr;
  requests_.clear();
  for (const auto& [channel, owned] : channels_) channel->Close();
  const absl::Time limit = absl::Now() + kDrainLimit;
  while (!channels_.empty() && absl::Now() < limit) Progress();
  if (!channels_.empty()) spdlog::error("ucx: {} connections could not be drained", channels_.size());
  for (auto& engine : engines_) engine.reset();
  ::close(epoll_);
}

absl::StatusOr<UcxEngine*> UcxWorker::EngineFor(Reach reach) {
  std::unique_ptr<UcxEngine>& engine = engines_[reach.index()];
  if (engine == nullptr) {
    ASSIGN_OR_RETURN(auto created, UcxEngine::Create(reach));
    RETURN_IF_ERROR(HandleActiveMessages(created->worker()));
    epoll_event event{EPOLLIN, {.u64 = 0}};
    if (::epoll_ctl(epoll_, EPOLL_CTL_ADD, created->event_fd(), &event) != 0) {
      return ErrnoStatus(errno, "watching a UCX worker");
    }
    engine = std::move(created);
  }
  return engine.get();
}

template <unsigned id>
ucs_status_t UcxWorker::OnActiveMessage(void* self, const void* header, size_t header_bytes, void* data, size_t bytes,
                                        const ucp_am_recv_param_t* params) {
  if ((params->recv_attr & UCP_AM_RECV_ATTR_FIELD_REPLY_EP) == 0) return UCS_OK;
  const auto& channels = static_cast<UcxWorker*>(self)->by_endpoint_;
  const auto found = channels.find(params->reply_ep);
  if (found == channels.end()) return UCS_OK;
  const bool is_rendezvous = (params->recv_attr & UCP_AM_RECV_ATTR_FLAG_RNDV) != 0;
  return found->second->OnActiveMessage(id, header, header_bytes, data, bytes, is_rendezvous);
}

absl::Status UcxWorker::HandleActiveMessages(ucp_worker_h worker) {
  constexpr std::array<ucp_am_recv_callback_t, kAmCount> kHandlers = {
      &OnActiveMessage<kAmControl>, &OnActiveMessage<kAmPush>, &OnActiveMessage<kAmPullRequest>,
      &OnActiveMessage<kAmPullData>};
  for (unsigned id = 0; id < kAmCount; ++id) {
    ucp_am_handler_param_t params{};
    params.field_mask = UCP_AM_HANDLER_PARAM_FIELD_ID | UCP_AM_HANDLER_PARAM_FIELD_FLAGS |
                        UCP_AM_HANDLER_PARAM_FIELD_CB | UCP_AM_HANDLER_PARAM_FIELD_ARG;
    params.id = id;
    params.flags = UCP_AM_FLAG_WHOLE_MSG;
    params.cb = kHandlers[id];
    params.arg = this;
    RETURN_IF_ERROR(ToStatus(ucp_worker_set_am_recv_handler(worker, &params), "setting a handler in UCX"));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> UcxWorker::Listen(const std::string& address, AcceptFunction accept) {
  if (listener_ != nullptr) return absl::FailedPreconditionError("this worker listens already");
  ASSIGN_OR_RETURN(SocketAddress resolved, ResolveForUcx(address));
  ASSIGN_OR_RETURN(listening_, EngineFor(ReachOf(resolved)));
  ucp_listener_params_t params{};
  params.field_mask = UCP_LISTENER_PARAM_FIELD_SOCK_ADDR | UCP_LISTENER_PARAM_FIELD_CONN_HANDLER;
  params.sockaddr = ToUcs(resolved);
  params.conn_handler.cb = [](ucp_conn_request_h request, void* self) {
    static_cast<UcxWorker*>(self)->requests_.push_back(request);
  };
  params.conn_handler.arg = this;
  RETURN_IF_ERROR(
      ToStatus(ucp_listener_create(listening_->worker(), &params, &listener_), absl::StrCat("listening at ", address)));
  accept_ = std::move(accept);
  ucp_listener_attr_t bound{};
  bound.field_mask = UCP_LISTENER_ATTR_FIELD_SOCKADDR;
  RETURN_IF_ERROR(ToStatus(ucp_listener_query(listener_, &bound), absl::StrCat("asking what ", address, " became")));
  resolved.storage = bound.sockaddr;
  return resolved.ToString();
}

absl::StatusOr<std::unique_ptr<Connection>> UcxWorker::Connect(const std::string& address, ConnectionEvents* events) {
  ASSIGN_OR_RETURN(const SocketAddress resolved, ResolveForUcx(address));
  ASSIGN_OR_RETURN(UcxEngine* const engine, EngineFor(ReachOf(resolved)));
  UcxChannel* const channel = AddChannel(*engine, UcxChannel::Role::kClient, absl::StrCat("ucx:", address));
  auto connection = std::make_unique<UcxConnection>(channel);
  ucp_ep_params_t params{};
  params.field_mask = UCP_EP_PARAM_FIELD_FLAGS | UCP_EP_PARAM_FIELD_SOCK_ADDR;
  params.flags = UCP_EP_PARAMS_FLAGS_CLIENT_SERVER;
  params.sockaddr = ToUcs(resolved);
  RETURN_IF_ERROR(channel->Open(params));
  by_endpoint_[channel->endpoint()] = channel;
  channel->set_events(events);
  return connection;
}

UcxChannel* UcxWorker::AddChannel(UcxEngine& engine, UcxChannel::Role role, std::string peer) {
  auto owned = std::make_unique<UcxChannel>(this, engine.worker(), role, std::move(peer));
  UcxChannel* const channel = owned.get();
  channels_.emplace(channel, std::move(owned));
  return channel;
}

void UcxWorker::Accept(ucp_conn_request_h request) {
  ucp_conn_request_attr_t attributes{};
  attributes.field_mask = UCP_CONN_REQUEST_ATTR_FIELD_CLIENT_ADDR;
  SocketAddress client;
  if (ucp_conn_request_query(request, &attributes) == UCS_OK) client.storage = attributes.client_address;
  UcxChannel* const channel =
      AddChannel(*listening_, UcxChannel::Role::kServer, absl::StrCat("ucx:", client.ToString()));
  auto connection = std::make_unique<UcxConnection>(channel);
  ucp_ep_params_t params{};
  params.field_mask = UCP_EP_PARAM_FIELD_CONN_REQUEST;
  params.conn_request = request;
  if (const absl::Status opened = channel->Open(params); !opened.ok()) {
    spdlog::warn("{}", opened.ToString());
    return;
  }
  by_endpoint_[channel->endpoint()] = channel;
  ConnectionEvents* const events = accept_(std::move(connection));
  if (events != nullptr) channel->set_events(events);
}

void UcxWorker::GiveTurn(UcxChannel* channel) {
  if (std::exchange(channel->in_turn_, true)) return;
  turns_.push_back(channel);
}

int UcxWorker::HandleChannels() {
  int done = 0;
  for (UcxChannel* const channel : std::exchange(turns_, {})) {
    channel->in_turn_ = false;
    done += channel->Handle();
    if (channel->disposable() && !channel->in_turn_) channels_.erase(channel);
  }
  return done;
}

int UcxWorker::Progress() {
  int done = 0;
  for (const auto& engine : engines_) {
    if (engine == nullptr) continue;
    int rounds = 0;
    while (rounds < kRounds && ucp_worker_progress(engine->worker()) > 0) ++rounds;
    done += rounds;
  }
  for (const ucp_conn_request_h request : std::exchange(requests_, {})) {
    Accept(request);
    ++done;
  }
  return done + HandleChannels();
}

bool UcxWorker::Arm() {
  if (!turns_.empty() || !requests_.empty()) return false;
  for (const auto& engine : engines_) {
    if (engine != nullptr && !engine->Arm()) return false;
  }
  return true;
}

}  // namespace droidspeak::ucx
