// SPDX-License-Identifier: Apache-2.0
#include "common/transport/tcp/tcp_worker.h"

#include <errno.h>
#include <openssl/rand.h>
#include <sys/epoll.h>

#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/check.h"
#include "common/base/files.h"
#include "common/base/log.h"
#include "common/base/status.h"
#include "common/transport/tcp/socket.h"

namespace droidspeak::tcp {
namespace {

constexpr uint64_t kListenerId = 0;
constexpr int kEventsAtOnce = 64;
// Sockets that have not sent their first frame; beyond that many the oldest goes, since an honest client's comes with
// its connection.
constexpr size_t kMaxStrangers = 256;

// Of each of HOST:PORT,HOST:PORT…
absl::StatusOr<std::vector<SocketAddress>> ResolveAll(const std::string& addresses) {
  std::vector<SocketAddress> all;
  for (const absl::string_view address : absl::StrSplit(addresses, ',')) {
    ASSIGN_OR_RETURN(const std::vector<SocketAddress> found, SocketAddress::Resolve(std::string(address)));
    all.insert(all.end(), found.begin(), found.end());
  }
  return all;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Worker>> TcpWorker::Create(const TcpStreams& streams) {
  OwnedFd epoll(::epoll_create1(EPOLL_CLOEXEC));
  if (!epoll.valid()) return ErrnoStatus(errno, "creating a tcp worker");
  return std::unique_ptr<Worker>(new TcpWorker(std::move(epoll), streams));
}

absl::StatusOr<std::string> TcpWorker::Listen(const std::string& address, AcceptFunction accept) {
  if (acceptor_) return absl::FailedPreconditionError("this worker listens already");
  ASSIGN_OR_RETURN(const std::vector<SocketAddress> found, SocketAddress::Resolve(address));
  ASSIGN_OR_RETURN(OwnedFd listener, ListenAt(found.front()));
  ASSIGN_OR_RETURN(const SocketAddress bound, SocketAddress::OfSocket(listener.get()));
  ASSIGN_OR_RETURN(acceptor_, Acceptor::Create(std::move(listener), absl::StrCat("tcp:", bound.ToString())));
  Watch(kListenerId, acceptor_->fd(), false);
  accept_ = std::move(accept);
  return bound.ToString();
}

absl::Status TcpWorker::AcceptEncryptedOnly(KeyFinder keys) {
  if (acceptor_) return absl::FailedPreconditionError("this worker listens already");
  ASSIGN_OR_RETURN(server_tls_, TlsContext::ForServer(std::move(keys)));
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Connection>> TcpWorker::Connect(const std::string& address, ConnectionEvents* events) {
  return StartConnection(address, std::nullopt, events);
}

absl::StatusOr<std::unique_ptr<Connection>> TcpWorker::ConnectEncrypted(const std::string& address,
                                                                        const SharedKey& key,
                                                                        ConnectionEvents* events) {
  return StartConnection(address, key, events);
}

absl::StatusOr<std::unique_ptr<Connection>> TcpWorker::StartConnection(const std::string& address,
                                                                       const std::optional<SharedKey>& key,
                                                                       ConnectionEvents* events) {
  ASSIGN_OR_RETURN(std::vector<SocketAddress> found, ResolveAll(address));
  ASSIGN_OR_RETURN(OwnedFd fd, StartConnectingToAny(found));
  ASSIGN_OR_RETURN(StreamSocket socket, Wrap(std::move(fd), key));
  auto connection =
      std::make_unique<TcpConnection>(this, TcpConnection::Role::kClient, std::move(socket), std::move(found), key);
  connection->set_events(events);
  return connection;
}

absl::StatusOr<StreamSocket> TcpWorker::Wrap(OwnedFd socket, const std::optional<SharedKey>& key) {
  if (!key.has_value()) return StreamSocket(std::move(socket), nullptr);
  if (client_tls_ == nullptr) {
    ASSIGN_OR_RETURN(client_tls_, TlsContext::ForClient());
  }
  ASSIGN_OR_RETURN(std::unique_ptr<TlsLayer> tls, TlsLayer::Create(*client_tls_, socket.get(), *key));
  return StreamSocket(std::move(socket), std::move(tls));
}

int TcpWorker::Progress() {
  sent_bytes_ = 0;
  received_bytes_ = 0;
  int done = RunTurns();
  std::array<epoll_event, kEventsAtOnce> events;
  const int ready = ::epoll_wait(epoll_.get(), events.data(), kEventsAtOnce, 0);
  // Those beyond a round's bytes stay ready, and come first next time.
  for (int i = 0; i < ready && received_bytes_ < round_bytes(); ++i) {
    const uint64_t id = events[i].data.u64;
    if (id == kListenerId) {
      AcceptAll();
      ++done;
    } else if (TcpConnection* connection = Find(id); connection != nullptr) {
      done += connection->OnReady(id, events[i].events);
    } else if (const auto stranger = strangers_.find(id); stranger != strangers_.end()) {
      OnStranger(id, stranger->second);
      ++done;
    }
  }
  done += RunTurns();
  if (done > 0 && shared_rounds_ > 0) --shared_rounds_;
  return done;
}

int TcpWorker::RunTurns() {
  // A turn may ask for another: that waits for the next call.
  const std::vector<uint64_t> turns = std::exchange(turns_, {});
  int done = 0;
  for (const uint64_t id : turns) {
    if (TcpConnection* connection = Find(id); connection != nullptr) done += 1 + connection->Turn();
  }
  return done;
}

void TcpWorker::AcceptAll() {
  for (int i = 0; i < kEventsAtOnce; ++i) {
    std::optional<OwnedFd> socket = acceptor_->Accept();
    if (!socket) return;
    std::unique_ptr<TlsLayer> tls;
    if (server_tls_ != nullptr) {
      absl::StatusOr<std::unique_ptr<TlsLayer>> made = TlsLayer::Create(*server_tls_, socket->get(), {});
      if (!made.ok()) continue;  // without memory for it
      tls = *std::move(made);
    }
    const uint64_t id = ++last_id_;
    Watch(id, socket->get(), false);
    strangers_.emplace(id, Stranger{StreamSocket(*std::move(socket), std::move(tls)), {}, 0});
    if (strangers_.size() > kMaxStrangers) strangers_.erase(strangers_.begin());
  }
}

void TcpWorker::OnStranger(uint64_t id, Stranger& stranger) {
  const iovec piece{stranger.begun.data() + stranger.bytes, stranger.begun.size() - stranger.bytes};
  const absl::StatusOr<size_t> got = stranger.socket.Read({&piece, 1});
  if (got.ok()) {
    stranger.bytes += *got;
    if (stranger.bytes < sizeof(FrameHeader)) return;
    FrameHeader header;
    std::memcpy(&header, stranger.begun.data(), sizeof(header));
    Introduce(std::move(stranger.socket), header);
  }
  strangers_.erase(id);
}

void TcpWorker::Introduce(StreamSocket socket, const FrameHeader& header) {
  if (header.type == FrameType::kOpen && header.number == kMagic) return Offer(std::move(socket));
  if (header.type != FrameType::kJoin) return;  // somebody who took this for another service
  const auto ticket = tickets_.find({header.number, header.offset});
  if (ticket == tickets_.end() || !Configure(socket.fd()).ok()) return;
  ticket->second->Join(std::move(socket));
}

void TcpWorker::Offer(StreamSocket socket) {
  const absl::StatusOr<SocketAddress> peer = SocketAddress::OfPeer(socket.fd());
  if (!peer.ok() || !Configure(socket.fd()).ok()) return;  // gone already
  auto owned = std::make_unique<TcpConnection>(this, TcpConnection::Role::kServer, std::move(socket),
                                               std::vector{*peer}, std::nullopt);
  TcpConnection* const connection = owned.get();
  ConnectionEvents* const events = accept_(std::move(owned));
  if (events != nullptr) connection->set_events(events);
}

TcpConnection* TcpWorker::Find(uint64_t stream_id) const {
  const auto found = streams_.find(stream_id);
  return found == streams_.end() ? nullptr : found->second;
}

uint64_t TcpWorker::Add(TcpConnection* connection, int socket, bool watch_output) {
  const uint64_t id = ++last_id_;
  streams_[id] = connection;
  Watch(id, socket, watch_output);
  return id;
}

void TcpWorker::Watch(uint64_t id, int socket, bool output) {
  epoll_event event{EPOLLIN | (output ? uint32_t{EPOLLOUT} : 0), {.u64 = id}};
  // Known ones wait for something else now, or are strangers that have introduced themselves.
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, socket, &event) == 0) return;
  if (errno == ENOENT && ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, socket, &event) == 0) return;
  spdlog::error("tcp: {}", ErrnoStatus(errno, "watching a socket").ToString());
}

uint32_t TcpWorker::MoreStreamsTo(const SocketAddress& peer, int socket) const {
  const absl::StatusOr<SocketAddress> own = SocketAddress::OfSocket(socket);
  const bool same_host = peer.is_loopback() || (own.ok() && own->HasHostOf(peer));
  return same_host ? more_streams_.within_host : more_streams_.between_hosts;
}

Ticket TcpWorker::AddTicket(TcpConnection* connection) {
  Ticket ticket;
  DROIDSPEAK_CHECK(RAND_bytes(reinterpret_cast<unsigned char*>(ticket.data()), sizeof(ticket)) == 1);
  tickets_[ticket] = connection;
  return ticket;
}

}  // namespace droidspeak::tcp
