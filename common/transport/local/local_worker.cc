// SPDX-License-Identifier: Apache-2.0
#include "common/transport/local/local_worker.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/files.h"
#include "common/base/log.h"
#include "common/base/status.h"

namespace droidspeak::local {
namespace {

constexpr uint64_t kListenerId = 0;
constexpr int kEventsAtOnce = 64;

}  // namespace

absl::StatusOr<std::unique_ptr<Worker>> LocalWorker::Create() {
  OwnedFd epoll(::epoll_create1(EPOLL_CLOEXEC));
  if (!epoll.valid()) return ErrnoStatus(errno, "creating a local worker");
  return std::unique_ptr<Worker>(new LocalWorker(std::move(epoll)));
}

LocalWorker::~LocalWorker() {
  struct stat info;
  if (acceptor_ && ::lstat(path_.c_str(), &info) == 0 && info.st_dev == path_device_ && info.st_ino == path_inode_) {
    ::unlink(path_.c_str());
  }
}

absl::StatusOr<std::string> LocalWorker::Listen(const std::string& address, AcceptFunction accept) {
  if (acceptor_) return absl::FailedPreconditionError("this worker listens already");
  ASSIGN_OR_RETURN(OwnedFd listener, ListenAt(address));
  struct stat info;
  if (::lstat(address.c_str(), &info) != 0) return ErrnoStatus(errno, absl::StrCat("looking at ", address));
  epoll_event event{EPOLLIN, {.u64 = kListenerId}};
  ASSIGN_OR_RETURN(Acceptor acceptor, Acceptor::Create(std::move(listener), absl::StrCat("local:", address)));
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, acceptor.fd(), &event) != 0) {
    return ErrnoStatus(errno, "watching a listener");
  }
  acceptor_ = std::move(acceptor);
  path_ = address;
  path_device_ = info.st_dev;
  path_inode_ = info.st_ino;
  accept_ = std::move(accept);
  return address;
}

absl::StatusOr<std::unique_ptr<Connection>> LocalWorker::Connect(const std::string& address, ConnectionEvents* events) {
  ASSIGN_OR_RETURN(OwnedFd socket, ConnectTo(address));
  RETURN_IF_ERROR(Annotate(CheckPeer(socket.get()), address));
  auto connection = std::make_unique<LocalConnection>(this, LocalConnection::Role::kClient, std::move(socket), address);
  connection->set_events(events);
  return connection;
}

int LocalWorker::Progress() {
  int done = TellDeferred();
  std::array<epoll_event, kEventsAtOnce> events;
  const int ready = ::epoll_wait(epoll_.get(), events.data(), kEventsAtOnce, 0);
  for (int i = 0; i < ready; ++i) {
    const uint64_t id = events[i].data.u64;
    if (id == kListenerId) {
      AcceptAll();
      ++done;
    } else if (LocalConnection* connection = Find(id); connection != nullptr) {
      done += connection->OnReady(events[i].events);
    }
  }
  return done;
}

int LocalWorker::TellDeferred() {
  // Handlers may add to both lists: that waits for the next call. A connection in `closed` adds no transfers any more,
  // so that each of its transfers is told of before.
  const auto transfers = std::exchange(transfers_done_, {});
  const auto closed = std::exchange(closed_, {});
  for (const auto& [id, token] : transfers) {
    if (LocalConnection* connection = Find(id); connection != nullptr) connection->TellTransferDone(token);
  }
  for (const uint64_t id : closed) {
    if (LocalConnection* connection = Find(id); connection != nullptr) {
      connection->Finish();
    }
  }
  return static_cast<int>(transfers.size() + closed.size());
}

void LocalWorker::AcceptAll() {
  for (int i = 0; i < kEventsAtOnce; ++i) {
    std::optional<OwnedFd> socket = acceptor_->Accept();
    if (!socket) return;
    Offer(*std::move(socket));
  }
}

void LocalWorker::Offer(OwnedFd socket) {
  if (const absl::Status allowed = CheckPeer(socket.get()); !allowed.ok()) {
    spdlog::warn("local:{}: {}", path_, allowed.ToString());
    return;
  }
  auto owned = std::make_unique<LocalConnection>(this, LocalConnection::Role::kServer, std::move(socket), path_);
  LocalConnection* const connection = owned.get();
  ConnectionEvents* const events = accept_(std::move(owned));
  if (events != nullptr) connection->set_events(events);
}

LocalConnection* LocalWorker::Find(uint64_t id) const {
  const auto found = connections_.find(id);
  return found == connections_.end() ? nullptr : found->second.connection;
}

void LocalWorker::Add(LocalConnection* connection) {
  epoll_event event{EPOLLIN, {.u64 = connection->id()}};
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, connection->socket(), &event) != 0) {
    spdlog::error("{}: {}", connection->peer(), ErrnoStatus(errno, "watching a connection").ToString());
  }
  connections_[connection->id()] = {connection};
}

void LocalWorker::Remove(LocalConnection* connection) {
  connections_.erase(connection->id());
}

void LocalWorker::WatchOutput(LocalConnection* connection, bool on) {
  Known& known = connections_[connection->id()];
  if (known.watches_output == on) return;
  known.watches_output = on;
  epoll_event event{EPOLLIN | (on ? uint32_t{EPOLLOUT} : 0), {.u64 = connection->id()}};
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, connection->socket(), &event);
}

void LocalWorker::AddClosed(LocalConnection* connection) {
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, connection->socket(), nullptr);
  closed_.push_back(connection->id());
}

}  // namespace droidspeak::local
