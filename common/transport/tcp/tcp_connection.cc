// SPDX-License-Identifier: Apache-2.0
// Sending, and how a connection begins and ends; tcp_receive.cc has what arrives.
#include "common/transport/tcp/tcp_connection.h"

#include <sys/epoll.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/base/status.h"
#include "common/transport/tcp/socket.h"
#include "common/transport/tcp/tcp_worker.h"

namespace droidspeak::tcp {

TcpConnection::TcpConnection(TcpWorker* worker, Role role, StreamSocket socket, std::vector<SocketAddress> peers,
                             std::optional<SharedKey> key)
    : worker_(worker), role_(role), key_(std::move(key)), peers_(std::move(peers)) {
  id_ = AddMember(std::move(socket), role == Role::kClient)->id;
  if (role == Role::kClient) first().Queue({FrameType::kOpen, 0, kMagic, 0, 0});
  if (first().has_input()) WantTurn();  // came with its first frame
}

TcpConnection::~TcpConnection() {
  for (const Member& member : streams_) worker_->Remove(member.id);
  worker_->RemoveTicket(ticket_);
}

std::string TcpConnection::peer() const {
  return absl::StrCat("tcp:", peers_.front().ToString());
}

absl::Status TcpConnection::CheckOpen() const {
  if (state_ == State::kOpen) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat("connection to ", peer(), " is closed"));
}

absl::Status TcpConnection::CheckClient() const {
  if (role_ != Role::kClient) return absl::FailedPreconditionError("only clients announce and withdraw regions");
  return CheckOpen();
}

absl::Status TcpConnection::CheckTransfer(const RemoteRange& range) const {
  if (role_ != Role::kServer) return absl::FailedPreconditionError("only servers push and pull");
  RETURN_IF_ERROR(CheckOpen());
  return regions_.Find(range).status();
}

absl::Status TcpConnection::Send(absl::Span<const std::byte> message) {
  RETURN_IF_ERROR(CheckOpen());
  if (message.empty() || message.size() > kMaxMessageBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("a message of ", message.size(), " bytes; expected 1 to ", kMaxMessageBytes));
  }
  if (first().held_bytes() + message.size() > kMaxQueuedBytes) {
    return absl::ResourceExhaustedError(absl::StrCat(peer(), " does not read: too much is queued for it"));
  }
  first().Queue({FrameType::kMessage, 0, pushes_sent_, 0, message.size()}, message);
  WantTurn();
  return absl::OkStatus();
}

absl::Status TcpConnection::AnnounceRegion(uint32_t region, const MemoryRegion& memory) {
  RETURN_IF_ERROR(CheckClient());
  RETURN_IF_ERROR(CheckHostMemory(memory));
  RETURN_IF_ERROR(regions_.Add(region, {memory.base, memory.bytes}));
  first().Queue({FrameType::kAnnounce, region, 0, 0, memory.bytes});
  WantTurn();
  return absl::OkStatus();
}

absl::Status TcpConnection::WithdrawRegion(uint32_t region) {
  RETURN_IF_ERROR(CheckClient());
  ASSIGN_OR_RETURN(const RegionTable::Region gone, regions_.Remove(region));
  for (const Member& member : streams_) {
    if (!member.stream->Uses(gone.base, gone.bytes)) continue;
    // Nothing is read or written any more once it is ending.
    End(absl::AbortedError(absl::StrCat("region ", region, " was withdrawn while a transfer was using it")));
    return absl::OkStatus();
  }
  first().Queue({FrameType::kWithdraw, region, 0, 0, 0});
  WantTurn();
  return absl::OkStatus();
}

absl::Status TcpConnection::Push(const std::byte* source, const RemoteRange& to, uint64_t token) {
  RETURN_IF_ERROR(CheckTransfer(to));
  ForBulk().Queue({FrameType::kPush, to.region, pushes_sent_++, to.offset, to.bytes}, source, token);
  WantTurn();
  return absl::OkStatus();
}

absl::Status TcpConnection::Pull(std::byte* destination, const RemoteRange& from, uint64_t token) {
  RETURN_IF_ERROR(CheckTransfer(from));
  pulls_[pulls_sent_] = {destination, from.bytes, token};
  first().Queue({FrameType::kPull, from.region, pulls_sent_++, from.offset, from.bytes});
  WantTurn();
  return absl::OkStatus();
}

void TcpConnection::Authorize() {
  if (authorized_ || state_ != State::kOpen) return;
  authorized_ = true;
  more_streams_ = worker_->MoreStreamsTo(peers_.front(), first().fd());
  if (more_streams_ == 0) return;
  ticket_ = worker_->AddTicket(this);
  first().Queue({FrameType::kStreams, more_streams_, ticket_[0], ticket_[1], 0});
  WantTurn();
}

void TcpConnection::Join(StreamSocket socket) {
  if (state_ != State::kOpen || more_streams_ == 0) return;
  if (--more_streams_ == 0) worker_->RemoveTicket(std::exchange(ticket_, {}));
  AddMember(std::move(socket), false)->stream->Queue({FrameType::kJoined, 0, 0, 0, 0});
  WantTurn();
}

TcpConnection::Member* TcpConnection::AddMember(StreamSocket socket, bool connecting) {
  Member& member = streams_.emplace_back();
  member.stream = std::make_unique<Stream>(std::move(socket));
  member.connecting = connecting;
  member.watches_output = connecting;
  member.id = worker_->Add(this, member.stream->fd(), connecting);
  return &member;
}

TcpConnection::Member* TcpConnection::FindMember(uint64_t id) {
  const auto found =
      std::find_if(streams_.begin(), streams_.end(), [id](const Member& member) { return member.id == id; });
  return found == streams_.end() ? nullptr : &*found;
}

TcpConnection::Member& TcpConnection::MemberOf(const Stream& stream) {
  return *std::find_if(streams_.begin(), streams_.end(),
                       [&stream](const Member& member) { return member.stream.get() == &stream; });
}

void TcpConnection::Fail(Member& member, const absl::Status& why) {
  if (!member.joined) {
    member.failed = true;
    return;
  }
  // What the peer said before it went is on the first stream.
  if (&member != &streams_.front()) ReceiveFrom(streams_.front());
  End(why);
}

void TcpConnection::RemoveFailed() {
  std::erase_if(streams_, [this](const Member& member) {
    if (member.failed) worker_->Remove(member.id);
    return member.failed;
  });
}

// The stream with least to send, of those beyond the first; that one while there are none.
Stream& TcpConnection::ForBulk() {
  Stream* best = nullptr;
  for (size_t i = 1; i < streams_.size(); ++i) {
    Stream* const stream = streams_[i].stream.get();
    if (streams_[i].connecting || !streams_[i].joined) continue;
    if (best == nullptr || stream->queued_bytes() < best->queued_bytes()) best = stream;
  }
  return best == nullptr ? first() : *best;
}

void TcpConnection::WantTurn() {
  if (std::exchange(in_turn_, true)) return;
  worker_->GiveTurn(id_);
}

int TcpConnection::OnReady(uint64_t stream_id, uint32_t epoll_events) {
  Member* member = FindMember(stream_id);
  if (member == nullptr || state_ != State::kOpen) return 0;
  worker_->Serves(id_);
  if (!member->connecting || OnConnected(*member)) {
    if ((epoll_events & EPOLLOUT) != 0) WantTurn();
    if ((epoll_events & ~uint32_t{EPOLLOUT}) != 0) ReceiveFrom(*member);
    // Under TLS what is to be done next does not follow from the socket alone.
    if (member->stream->has_input() || (member->stream->wants_output() && !member->watches_output)) WantTurn();
  }
  RemoveFailed();
  return 1;
}

// False when it was not made: without its first stream a connection ends, without another it goes on.
bool TcpConnection::OnConnected(Member& member) {
  const absl::Status connected = ConnectResult(member.stream->fd());
  member.connecting = false;
  if (connected.ok()) {
    WantTurn();
    return true;
  }
  if (!member.joined || !ConnectToNext(member)) Fail(member, connected);
  return false;
}

bool TcpConnection::ConnectToNext(Member& member) {
  if (peers_.size() == 1) return false;
  peers_.erase(peers_.begin());
  absl::StatusOr<OwnedFd> socket = StartConnectingToAny(peers_);
  if (!socket.ok()) return false;
  member.stream->Replace(*std::move(socket));
  member.connecting = true;
  worker_->Watch(member.id, member.stream->fd(), true);
  return true;
}

int TcpConnection::Turn() {
  in_turn_ = false;
  worker_->Serves(id_);
  const size_t streams = streams_.size();  // those that come meanwhile are told of by epoll
  for (size_t i = 0; i < streams && state_ == State::kOpen; ++i) {
    // Another one first each time: a turn may be over before all have sent.
    Member& member = streams_[(turns_ + i) % streams];
    if (member.stream->has_input()) ReceiveFrom(member);
    if (!member.connecting && state_ == State::kOpen) Flush(member);
    if (state_ == State::kOpen && member.stream->has_input()) WantTurn();
  }
  ++turns_;
  RemoveFailed();
  const std::vector<uint64_t> sent = std::exchange(sent_, {});
  for (const uint64_t token : sent) {
    if (events_ != nullptr) events_->OnTransferDone(*this, token, absl::OkStatus());
  }
  if (state_ == State::kEnding) Finish();
  return static_cast<int>(sent.size());
}

void TcpConnection::Flush(Member& member) {
  if (worker_->HasSentEnough()) return WantTurn();
  const absl::StatusOr<uint64_t> flushed = member.stream->Flush(sent_, worker_->piece_bytes());
  if (!flushed.ok()) {
    ReceiveFrom(member);  // what the peer said before it went
    return Fail(member, flushed.status());
  }
  worker_->Sent(*flushed);
  const bool watch = member.stream->wants_output();
  if (watch == member.watches_output) return;
  member.watches_output = watch;
  worker_->Watch(member.id, member.stream->fd(), watch);
}

void TcpConnection::Close() {
  if (state_ != State::kOpen) return;
  for (Member& member : streams_) {  // what was said before goes out if it can
    if (member.connecting) continue;
    while (member.stream->Flush(sent_, worker_->piece_bytes()).value_or(0) > 0) {
    }
  }
  End(absl::CancelledError("closed by this end"));
}

void TcpConnection::End(const absl::Status& why) {
  if (state_ != State::kOpen) return;
  state_ = State::kEnding;
  why_ = Annotate(why, peer());
  WantTurn();
}

void TcpConnection::Finish() {
  state_ = State::kClosed;
  std::vector<uint64_t> failed;
  for (const Member& member : streams_) {
    member.stream->DropQueue(failed);
    worker_->Remove(member.id);
  }
  worker_->RemoveTicket(ticket_);
  streams_.clear();  // closes the sockets
  for (const auto& [number, pull] : pulls_) failed.push_back(pull.token);
  pulls_.clear();
  if (events_ == nullptr) return;
  for (const uint64_t token : std::exchange(sent_, {})) events_->OnTransferDone(*this, token, absl::OkStatus());
  const absl::Status lost = absl::UnavailableError(why_.message());
  for (const uint64_t token : failed) events_->OnTransferDone(*this, token, lost);
  events_->OnClosed(*this, why_);
}

}  // namespace droidspeak::tcp
