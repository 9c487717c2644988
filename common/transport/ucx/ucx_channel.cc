// SPDX-License-Identifier: Apache-2.0
// Sending and ending; ucx_receive.cc has what arrives.
#include "common/transport/ucx/ucx_channel.h"

#include "absl/strings/str_cat.h"
#include "common/base/status.h"
#include "common/transport/ucx/operation.h"
#include "common/transport/ucx/ucx_engine.h"
#include "common/transport/ucx/ucx_worker.h"

namespace droidspeak::ucx {
namespace {

// From here on the receiver is asked for a place first and the bytes go straight into it; below, they come at once and
// are copied there. Measured: docs/transports.md.
constexpr size_t kRendezvousBytes = size_t{16} * 1024;

}  // namespace

UcxChannel::UcxChannel(UcxWorker* worker, ucp_worker_h ucp_worker, Role role, std::string peer)
    : worker_(worker), ucp_worker_(ucp_worker), role_(role), peer_(std::move(peer)) {}

UcxChannel::~UcxChannel() = default;

absl::Status UcxChannel::Open(ucp_ep_params_t params) {
  params.field_mask |= UCP_EP_PARAM_FIELD_ERR_HANDLER | UCP_EP_PARAM_FIELD_ERR_HANDLING_MODE;
  params.err_mode = UCP_ERR_HANDLING_MODE_PEER;
  params.err_handler.cb = [](void* arg, ucp_ep_h, ucs_status_t status) {
    static_cast<UcxChannel*>(arg)->OnError(status);
  };
  params.err_handler.arg = this;
  return ToStatus(ucp_ep_create(ucp_worker_, &params, &endpoint_), absl::StrCat("connecting to ", peer_));
}

void UcxChannel::Detach() {
  events_ = nullptr;
  connection_ = nullptr;
  Close();
  worker_->GiveTurn(this);
}

absl::Status UcxChannel::CheckOpen() const {
  if (state_ == State::kOpen) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat("connection to ", peer_, " is closed"));
}

absl::Status UcxChannel::CheckTransfer(const RemoteRange& range) const {
  if (role_ != Role::kServer) return absl::FailedPreconditionError("only servers push and pull");
  RETURN_IF_ERROR(CheckOpen());
  return regions_.Find(range).status();
}

absl::Status UcxChannel::Send(absl::Span<const std::byte> message) {
  if (message.empty() || message.size() > kMaxMessageBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("a message of ", message.size(), " bytes; 1 to ", kMaxMessageBytes, " are expected"));
  }
  return SendControl({static_cast<uint32_t>(ControlType::kMessage), 0, 0, 0, 0}, message);
}

absl::Status UcxChannel::AnnounceRegion(uint32_t region, const MemoryRegion& memory) {
  if (role_ != Role::kClient) return absl::FailedPreconditionError("only clients announce regions");
  RETURN_IF_ERROR(CheckHostMemory(memory));
  RETURN_IF_ERROR(regions_.Add(region, {memory.base, memory.bytes}));
  absl::Status sent = SendControl({static_cast<uint32_t>(ControlType::kAnnounce), region, 0, 0, memory.bytes}, {});
  if (!sent.ok()) regions_.Remove(region).IgnoreError();
  return sent;
}

absl::Status UcxChannel::WithdrawRegion(uint32_t region) {
  if (role_ != Role::kClient) return absl::FailedPreconditionError("only clients withdraw regions");
  RETURN_IF_ERROR(regions_.Remove(region).status());
  return SendControl({static_cast<uint32_t>(ControlType::kWithdraw), region, 0, 0, 0}, {});
}

absl::Status UcxChannel::SendControl(ControlHeader header, absl::Span<const std::byte> message) {
  RETURN_IF_ERROR(CheckOpen());
  const size_t bytes = sizeof(header) + message.size();
  if (queued_bytes_ + bytes > kMaxQueuedBytes) {
    return absl::ResourceExhaustedError(absl::StrCat(peer_, " does not read: too much is queued for it"));
  }
  header.number = controls_sent_++;
  header.pushes_before = pushes_sent_;
  auto operation = std::make_unique<Operation>(this, Operation::Kind::kSendControl, header.number);
  operation->SetHeader(header);
  operation->bytes.assign(message.begin(), message.end());
  queued_bytes_ += bytes;
  const std::byte* data = operation->bytes.data();
  StartSend(kAmControl, std::move(operation), data, message.size());
  return absl::OkStatus();
}

absl::Status UcxChannel::Push(const std::byte* source, const RemoteRange& to, uint64_t token) {
  RETURN_IF_ERROR(CheckTransfer(to));
  auto operation = std::make_unique<Operation>(this, Operation::Kind::kPush, token);
  operation->SetHeader(PushHeader{pushes_sent_++, to.offset, to.bytes, to.region, 0});
  StartSend(kAmPush, std::move(operation), source, to.bytes);
  return absl::OkStatus();
}

absl::Status UcxChannel::Pull(std::byte* destination, const RemoteRange& from, uint64_t token) {
  RETURN_IF_ERROR(CheckTransfer(from));
  const uint64_t number = pulls_sent_++;
  pulls_[number] = {destination, from.bytes, token, false};
  auto operation = std::make_unique<Operation>(this, Operation::Kind::kRequestPull, number);
  operation->SetHeader(PullHeader{number, from.offset, from.bytes, from.region, 0});
  StartSend(kAmPullRequest, std::move(operation), nullptr, 0);
  return absl::OkStatus();
}

void UcxChannel::AnswerPull(const PullHeader& request) {
  if (state_ != State::kOpen) return;
  const auto source = regions_.Find({request.region, request.offset, request.bytes});
  if (!source.ok()) return End(Annotate(source.status(), "the server pulls"), true);
  auto operation = std::make_unique<Operation>(this, Operation::Kind::kAnswerPull, request.number);
  operation->SetHeader(request);
  StartSend(kAmPullData, std::move(operation), *source, request.bytes);
}

void UcxChannel::StartSend(unsigned id, std::unique_ptr<Operation> operation, const std::byte* data, size_t bytes) {
  ucp_request_param_t params{};
  params.op_attr_mask = UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA | UCP_OP_ATTR_FIELD_FLAGS |
                        UCP_OP_ATTR_FIELD_MEMORY_TYPE;
  // The reply flag carries what tells the receiver which of its endpoints a message is for.
  params.flags = UCP_AM_SEND_FLAG_REPLY | (bytes >= kRendezvousBytes ? UCP_AM_SEND_FLAG_RNDV : UCP_AM_SEND_FLAG_EAGER);
  params.cb.send = &UcxChannel::OnSent;
  params.user_data = operation.get();
  params.memory_type = UCS_MEMORY_TYPE_HOST;
  ucs_status_ptr_t request =
      ucp_am_send_nbx(endpoint_, id, operation->header_bytes.data(), operation->header_size, data, bytes, &params);
  if (UCS_PTR_IS_PTR(request)) {
    ++outstanding_;
    (void)operation.release();  // OnSent deletes it
    return;
  }
  Complete(*operation, UCS_PTR_STATUS(request));
}

void UcxChannel::OnSent(void* request, ucs_status_t status, void* user_data) {
  ucp_request_free(request);
  const std::unique_ptr<Operation> operation(static_cast<Operation*>(user_data));
  --operation->channel->outstanding_;
  operation->channel->Complete(*operation, status);
}

void UcxChannel::Complete(Operation& operation, ucs_status_t status) {
  switch (operation.kind) {
    case Operation::Kind::kSendControl:
      queued_bytes_ -= sizeof(ControlHeader) + operation.bytes.size();
      break;
    case Operation::Kind::kPush:
      transfers_done_.emplace_back(operation.number, ToStatus(status, absl::StrCat("pushing to ", peer_)));
      break;
    case Operation::Kind::kRequestPull:
    case Operation::Kind::kAnswerPull:
      break;
    case Operation::Kind::kReceiveControl:
      arrived_bytes_ -= operation.bytes.size();
      if (status == UCS_OK && !AddArrived({operation.control, std::move(operation.bytes)})) {
        End(absl::InvalidArgumentError("the peer numbers its messages wrongly"), true);
      }
      break;
    case Operation::Kind::kReceivePush:
      if (status == UCS_OK && !pushes_landed_.Add(operation.number)) {
        End(absl::InvalidArgumentError("the server numbers its pushes wrongly"), true);
      }
      break;
    case Operation::Kind::kReceivePull: {
      const auto pull = pulls_.extract(operation.number);
      transfers_done_.emplace_back(pull.mapped().token, ToStatus(status, absl::StrCat("pulling from ", peer_)));
      break;
    }
  }
  if (status != UCS_OK) End(absl::UnavailableError(ucs_status_string(status)), false);
  worker_->GiveTurn(this);
}

void UcxChannel::Close() {
  End(absl::CancelledError("closed by this end"), true);
}

void UcxChannel::OnError(ucs_status_t status) {
  End(absl::UnavailableError(ucs_status_string(status)), false);
}

void UcxChannel::End(const absl::Status& why, bool at_once) {
  if (at_once) deliver_rest_ = false;
  if (state_ != State::kOpen) return;
  state_ = State::kEnding;
  why_ = Annotate(why, peer_);
  worker_->GiveTurn(this);
}

int UcxChannel::Handle() {
  int done = 0;
  for (const PullHeader& request : std::exchange(pull_requests_, {})) {
    AnswerPull(request);
    ++done;
  }
  done += DeliverControls();
  for (const auto& [token, status] : std::exchange(transfers_done_, {})) {
    if (events_ != nullptr) events_->OnTransferDone(*connection_, token, status);
    ++done;
  }
  if (state_ == State::kEnding) {
    CloseEndpoint();
    ++done;
  }
  if (state_ == State::kClosing) {
    if (IsDrained()) {
      Finish();
      ++done;
    } else {
      worker_->GiveTurn(this);
    }
  }
  return done;
}

void UcxChannel::CloseEndpoint() {
  state_ = State::kClosing;
  if (endpoint_ == nullptr) return;
  worker_->Forget(endpoint_);
  ucp_request_param_t params{};
  params.op_attr_mask = UCP_OP_ATTR_FIELD_FLAGS;
  params.flags = UCP_EP_CLOSE_FLAG_FORCE;
  close_request_ = ucp_ep_close_nbx(endpoint_, &params);
  if (!UCS_PTR_IS_PTR(close_request_)) close_request_ = nullptr;
}

bool UcxChannel::IsDrained() {
  if (close_request_ != nullptr) {
    if (ucp_request_check_status(close_request_) == UCS_INPROGRESS) return false;
    ucp_request_free(close_request_);
    close_request_ = nullptr;
  }
  return outstanding_ == 0 && transfers_done_.empty();
}

void UcxChannel::Finish() {
  state_ = State::kClosed;
  regions_ = RegionTable();
  arrived_.clear();
  for (const auto& [number, pull] : std::exchange(pulls_, {})) {  // those that were never answered
    if (events_ != nullptr) events_->OnTransferDone(*connection_, pull.token, why_);
  }
  if (events_ != nullptr) events_->OnClosed(*connection_, why_);
}

}  // namespace droidspeak::ucx
