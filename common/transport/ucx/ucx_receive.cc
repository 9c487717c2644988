// SPDX-License-Identifier: Apache-2.0
// What arrives on a UCX connection. Nothing in it is trusted: a peer that breaks the protocol is cut off.
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status.h"
#include "common/transport/ucx/operation.h"
#include "common/transport/ucx/ucx_channel.h"
#include "common/transport/ucx/ucx_worker.h"

namespace droidspeak::ucx {
namespace {

// What a peer may have sent ahead of what it has to wait for.
constexpr size_t kMaxArrivedBytes = 2 * kMaxQueuedBytes;
constexpr size_t kMaxAhead = size_t{1} << 16;

template <typename Header>
bool ReadHeader(const void* bytes, size_t size, Header& header) {
  if (size != sizeof(Header)) return false;
  std::memcpy(&header, bytes, sizeof(Header));
  return true;
}

}  // namespace

ucs_status_t UcxChannel::OnActiveMessage(unsigned id, const void* header, size_t header_bytes, void* data, size_t bytes,
                                         bool is_rendezvous) {
  if (state_ != State::kOpen) return UCS_OK;
  bool good = false;
  if (id == kAmControl) {
    ControlHeader control;
    good = ReadHeader(header, header_bytes, control) && OnControl(control, data, bytes, is_rendezvous);
  } else if (id == kAmPush && role_ == Role::kClient) {
    PushHeader push;
    good = ReadHeader(header, header_bytes, push) && OnPush(push, data, bytes, is_rendezvous);
  } else if (id == kAmPullRequest && role_ == Role::kClient) {
    PullHeader pull;
    good = ReadHeader(header, header_bytes, pull) && bytes == 0 && OnPullRequest(pull);
  } else if (id == kAmPullData && role_ == Role::kServer) {
    PullHeader pull;
    good = ReadHeader(header, header_bytes, pull) && OnPullData(pull, data, bytes, is_rendezvous);
  }
  if (!good)
    End(absl::InvalidArgumentError(absl::StrCat("the peer broke the protocol (active message ", id, ")")), true);
  return UCS_OK;
}

bool UcxChannel::OnControl(const ControlHeader& header, void* data, size_t bytes, bool is_rendezvous) {
  const auto type = static_cast<ControlType>(header.type);
  if (type == ControlType::kMessage ? bytes == 0 || bytes > kMaxMessageBytes : bytes != 0) return false;
  if (arrived_bytes_ + bytes > kMaxArrivedBytes || arrived_.size() >= kMaxAhead) return false;
  if (!is_rendezvous) {
    const auto* first = static_cast<const std::byte*>(data);
    worker_->GiveTurn(this);
    return AddArrived({header, std::vector<std::byte>(first, first + bytes)});
  }
  auto operation = std::make_unique<Operation>(this, Operation::Kind::kReceiveControl, header.number);
  operation->control = header;
  operation->bytes.resize(bytes);
  arrived_bytes_ += bytes;
  std::byte* const to = operation->bytes.data();
  StartReceive(std::move(operation), data, to, bytes);
  return true;
}

bool UcxChannel::OnPush(const PushHeader& header, void* data, size_t bytes, bool is_rendezvous) {
  const auto to = regions_.Find({header.region, header.offset, header.bytes});
  if (!to.ok() || header.bytes != bytes || pushes_landed_.ahead() >= kMaxAhead) return false;
  if (is_rendezvous) {
    StartReceive(std::make_unique<Operation>(this, Operation::Kind::kReceivePush, header.number), data, *to, bytes);
    return true;
  }
  std::memcpy(*to, data, bytes);
  worker_->GiveTurn(this);
  return pushes_landed_.Add(header.number);
}

bool UcxChannel::OnPullRequest(const PullHeader& header) {
  if (pull_requests_.size() >= kMaxAhead) return false;
  pull_requests_.push_back(header);  // answered from Handle(), not from within UCX
  worker_->GiveTurn(this);
  return true;
}

bool UcxChannel::OnPullData(const PullHeader& header, void* data, size_t bytes, bool is_rendezvous) {
  const auto found = pulls_.find(header.number);
  if (found == pulls_.end() || found->second.receiving || found->second.bytes != bytes) return false;
  PendingPull& pull = found->second;
  if (is_rendezvous) {
    pull.receiving = true;
    StartReceive(std::make_unique<Operation>(this, Operation::Kind::kReceivePull, header.number), data,
                 pull.destination, bytes);
    return true;
  }
  std::memcpy(pull.destination, data, bytes);
  transfers_done_.emplace_back(pull.token, absl::OkStatus());
  pulls_.erase(found);
  worker_->GiveTurn(this);
  return true;
}

void UcxChannel::StartReceive(std::unique_ptr<Operation> operation, void* descriptor, std::byte* to, size_t bytes) {
  ucp_request_param_t params{};
  params.op_attr_mask = UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA | UCP_OP_ATTR_FIELD_MEMORY_TYPE;
  params.cb.recv_am = &UcxChannel::OnReceived;
  params.user_data = operation.get();
  params.memory_type = UCS_MEMORY_TYPE_HOST;
  ucs_status_ptr_t request = ucp_am_recv_data_nbx(ucp_worker_, descriptor, to, bytes, &params);
  if (UCS_PTR_IS_PTR(request)) {
    ++outstanding_;
    (void)operation.release();  // OnReceived deletes it
    return;
  }
  Complete(*operation, UCS_PTR_STATUS(request));
}

void UcxChannel::OnReceived(void* request, ucs_status_t status, size_t, void* user_data) {
  OnSent(request, status, user_data);
}

bool UcxChannel::AddArrived(Control control) {
  const uint64_t number = control.header.number;
  if (number < next_control_ || number - next_control_ > kMaxAhead) return false;
  arrived_bytes_ += control.bytes.size();
  return arrived_.emplace(number, std::move(control)).second;
}

int UcxChannel::DeliverControls() {
  int done = 0;
  while (!arrived_.empty() && (state_ == State::kOpen || deliver_rest_)) {
    const auto first = arrived_.begin();
    if (first->first != next_control_ || first->second.header.pushes_before > pushes_landed_.below()) break;
    Control control = std::move(first->second);
    arrived_.erase(first);
    arrived_bytes_ -= control.bytes.size();
    ++next_control_;
    Deliver(control);
    ++done;
  }
  return done;
}

void UcxChannel::Deliver(Control& control) {
  const ControlHeader& header = control.header;
  if (static_cast<ControlType>(header.type) == ControlType::kMessage) {
    if (events_ != nullptr) events_->OnMessage(*connection_, control.bytes);
    return;
  }
  absl::Status status;
  if (role_ != Role::kServer) {
    status = absl::InvalidArgumentError("a server announced or withdrew a region");
  } else if (!authorized_) {
    status = absl::PermissionDeniedError("a region was announced before the hello");
  } else if (static_cast<ControlType>(header.type) == ControlType::kAnnounce) {
    status = regions_.Add(header.region, {nullptr, header.region_bytes});
  } else if (static_cast<ControlType>(header.type) == ControlType::kWithdraw) {
    status = regions_.Remove(header.region).status();
  } else {
    status = absl::InvalidArgumentError("an unknown control message");
  }
  if (!status.ok()) End(status, true);
}

}  // namespace droidspeak::ucx
