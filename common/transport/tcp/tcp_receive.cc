// SPDX-License-Identifier: Apache-2.0
// What arrives on a TCP connection. Nothing in it is trusted: a peer that breaks the protocol is cut off.
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status.h"
#include "common/transport/tcp/socket.h"
#include "common/transport/tcp/tcp_connection.h"
#include "common/transport/tcp/tcp_worker.h"

namespace droidspeak::tcp {
namespace {

absl::Status Broken(const FrameHeader& header) {
  return absl::InvalidArgumentError(
      absl::StrCat("the peer broke the protocol (frame of type ", static_cast<uint32_t>(header.type), ")"));
}

}  // namespace

void TcpConnection::ReceiveFrom(Member& member) {
  const absl::StatusOr<uint64_t> received = member.stream->Receive(*this, worker_->scratch(), worker_->piece_bytes());
  if (!received.ok()) return Fail(member, received.status());
  worker_->Received(*received);
}

absl::StatusOr<std::byte*> TcpConnection::PlaceFor(const Stream& stream, const FrameHeader& header) {
  if (header.type == FrameType::kMessage) {
    const size_t most = role_ == Role::kServer && !authorized_ ? kMaxStrangerBytes : kMaxMessageBytes;
    if (&stream != &first() || header.bytes > most) return Broken(header);
    arriving_.pushes_before = header.number;
    arriving_.bytes.resize(header.bytes);
    return arriving_.bytes.data();
  }
  if (header.type == FrameType::kPush && role_ == Role::kClient) {
    return regions_.Find({header.region, header.offset, header.bytes});
  }
  if (header.type == FrameType::kPulled && role_ == Role::kServer) {
    const auto pull = pulls_.find(header.number);
    if (pull == pulls_.end() || pull->second.bytes != header.bytes || pull->second.receiving) return Broken(header);
    pull->second.receiving = true;
    return pull->second.destination;
  }
  return Broken(header);
}

absl::Status TcpConnection::OnFrame(const Stream& stream, const FrameHeader& header) {
  switch (header.type) {
    case FrameType::kPush:
      if (!pushes_landed_.Add(header.number) || pushes_landed_.ahead() > kMaxPushesAhead) return Broken(header);
      DeliverMessages();
      return absl::OkStatus();
    case FrameType::kPulled:
      return OnPulled(header);
    case FrameType::kJoined:
      if (role_ != Role::kClient || &stream == &first()) return Broken(header);
      MemberOf(stream).joined = true;
      return absl::OkStatus();
    default:
      if (&stream != &first()) return Broken(header);  // a stream that joined carries bytes only
      return OnControl(header);
  }
}

absl::Status TcpConnection::OnControl(const FrameHeader& header) {
  if (header.type == FrameType::kMessage) {
    waiting_bytes_ += arriving_.bytes.size();
    waiting_.push_back(std::exchange(arriving_, {}));
    DeliverMessages();
    if (waiting_bytes_ <= kMaxWaitingBytes && waiting_.size() <= kMaxAhead) return absl::OkStatus();
    return absl::InvalidArgumentError("the peer sent too much ahead of what it has to wait for");
  }
  if (role_ == Role::kClient) {
    if (header.type == FrameType::kPull) return OnPull(header);
    if (header.type == FrameType::kStreams) return OnStreams(header);
    return Broken(header);
  }
  if (header.type == FrameType::kAnnounce) {
    if (!authorized_) return absl::PermissionDeniedError("a region was announced before the hello");
    return regions_.Add(header.region, {nullptr, header.bytes});
  }
  if (header.type == FrameType::kWithdraw) {
    const absl::Status removed = regions_.Remove(header.region).status();
    return removed.ok() ? removed : absl::InvalidArgumentError(removed.message());
  }
  return Broken(header);
}

void TcpConnection::DeliverMessages() {
  while (!waiting_.empty() && state_ == State::kOpen) {
    // A server has pushed nothing that its client's messages could overtake.
    if (role_ == Role::kClient && waiting_.front().pushes_before > pushes_landed_.below()) return;
    const Message message = std::move(waiting_.front());
    waiting_.pop_front();
    waiting_bytes_ -= message.bytes.size();
    if (events_ != nullptr) events_->OnMessage(*this, message.bytes);
  }
}

absl::Status TcpConnection::OnPull(const FrameHeader& header) {
  const absl::StatusOr<std::byte*> source = regions_.Find({header.region, header.offset, header.bytes});
  if (!source.ok()) return source.status();
  Stream& stream = ForBulk();
  if (stream.held_bytes() > kMaxQueuedBytes) return Broken(header);
  stream.Queue({FrameType::kPulled, 0, header.number, 0, header.bytes}, *source, std::nullopt);
  WantTurn();
  return absl::OkStatus();
}

absl::Status TcpConnection::OnPulled(const FrameHeader& header) {
  const auto found = pulls_.find(header.number);
  if (found == pulls_.end() || !found->second.receiving) return Broken(header);
  const uint64_t token = found->second.token;
  pulls_.erase(found);
  if (events_ != nullptr) events_->OnTransferDone(*this, token, absl::OkStatus());
  return absl::OkStatus();
}

// More streams only make a connection faster: where one can't be opened, or isn't taken in, it goes on with those that
// it has.
absl::Status TcpConnection::OnStreams(const FrameHeader& header) {
  if (header.region == 0 || header.region > kMaxMoreStreams || streams_.size() > 1) return Broken(header);
  for (uint32_t i = 0; i < header.region; ++i) {
    absl::StatusOr<OwnedFd> socket = StartConnecting(peers_.front());
    if (!socket.ok()) return absl::OkStatus();
    absl::StatusOr<StreamSocket> wrapped = worker_->Wrap(*std::move(socket), key_);
    if (!wrapped.ok()) return absl::OkStatus();
    Member* const member = AddMember(*std::move(wrapped), true);
    member->joined = false;
    member->stream->Queue({FrameType::kJoin, 0, header.number, header.offset, 0});
  }
  return absl::OkStatus();
}

}  // namespace droidspeak::tcp
