// SPDX-License-Identifier: Apache-2.0
#include "common/transport/introduced_transport.h"

#include <errno.h>
#include <sys/epoll.h>

#include <cstring>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/files.h"
#include "common/base/owned_fd.h"
#include "common/base/status.h"
#include "common/transport/acceptor.h"
#include "common/transport/socket_address.h"
#include "common/transport/tcp/socket.h"

namespace droidspeak {
namespace {

constexpr size_t kMostBytes = 4096;

// One way of an exchange: all that is to be sent, then all that comes until the other end has sent its part.
struct Exchange {
  OwnedFd socket;
  std::string out;
  std::string in;
  Answered answered;  // of the connecting end

  absl::Status Write() {
    while (!out.empty()) {
      const iovec piece{out.data(), out.size()};
      ASSIGN_OR_RETURN(const size_t written, tcp::WriteSome(socket.get(), {&piece, 1}));
      if (written == 0) break;
      out.erase(0, written);
    }
    return absl::OkStatus();
  }
  // The other end's part, once it is here whole.
  absl::StatusOr<std::optional<std::string>> Read() {
    char buffer[kMostBytes];
    const iovec piece{buffer, sizeof(buffer)};
    ASSIGN_OR_RETURN(const size_t got, tcp::ReadSome(socket.get(), {&piece, 1}));
    in.append(buffer, got);
    uint32_t bytes = 0;
    if (in.size() < sizeof(bytes)) return std::nullopt;
    std::memcpy(&bytes, in.data(), sizeof(bytes));
    if (bytes > kMostBytes) return absl::InvalidArgumentError("no introduction");
    if (in.size() < sizeof(bytes) + bytes) return std::nullopt;
    return in.substr(sizeof(bytes), bytes);
  }
};

std::string Framed(const std::string& words) {
  const auto bytes = static_cast<uint32_t>(words.size());
  return std::string(reinterpret_cast<const char*>(&bytes), sizeof(bytes)) + words;
}

class IntroducedWorker final : public Worker {
 public:
  IntroducedWorker(std::unique_ptr<Worker> worker, OwnedFd epoll)
      : worker_(std::move(worker)), epoll_(std::move(epoll)) {
    Watch(worker_->event_fd(), EPOLLIN);
  }

  absl::StatusOr<std::string> Listen(const std::string& address, AcceptFunction accept) override {
    if (acceptor_) return absl::FailedPreconditionError("this worker listens already");
    ASSIGN_OR_RETURN(const std::vector<SocketAddress> found, SocketAddress::Resolve(address));
    ASSIGN_OR_RETURN(OwnedFd listener, tcp::ListenAt(found.front()));
    ASSIGN_OR_RETURN(const SocketAddress bound, SocketAddress::OfSocket(listener.get()));
    RETURN_IF_ERROR(worker_->Listen(address, std::move(accept)).status());
    ASSIGN_OR_RETURN(acceptor_, Acceptor::Create(std::move(listener), bound.ToString()));
    Watch(acceptor_->fd(), EPOLLIN);
    return bound.ToString();
  }

  absl::StatusOr<std::unique_ptr<Connection>> Connect(const std::string& address, ConnectionEvents* events) override {
    ASSIGN_OR_RETURN(std::vector<SocketAddress> found, SocketAddress::Resolve(address));
    ASSIGN_OR_RETURN(OwnedFd socket, tcp::StartConnectingToAny(found));
    const auto introduce = [&](const std::string& words, Answered answered) {
      Watch(socket.get(), EPOLLIN | EPOLLOUT);
      exchanges_.push_back({std::move(socket), Framed(words), "", std::move(answered)});
    };
    return worker_->ConnectIntroduced(introduce, events);
  }

  absl::Status Register(const MemoryRegion& memory) override { return worker_->Register(memory); }
  bool Arm() override { return worker_->Arm(); }
  int event_fd() const override { return epoll_.get(); }

  int Progress() override {
    int done = worker_->Progress();
    while (acceptor_) {
      std::optional<OwnedFd> socket = acceptor_->Accept();
      if (!socket) break;
      Watch(socket->get(), EPOLLIN);
      exchanges_.push_back({*std::move(socket), "", "", nullptr});
      ++done;
    }
    const size_t before = exchanges_.size();
    std::erase_if(exchanges_, [this](Exchange& exchange) { return HasEnded(exchange); });
    return done + static_cast<int>(before - exchanges_.size());
  }

 private:
  void Watch(int fd, uint32_t what) {
    epoll_event event{what, {.u64 = 0}};
    ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event);
  }

  bool HasEnded(Exchange& exchange) {
    absl::Status status = tcp::ConnectResult(exchange.socket.get());
    if (status.ok()) status = exchange.Write();
    if (status.ok() && exchange.answered && exchange.out.empty()) {
      epoll_event event{EPOLLIN, {.u64 = 0}};
      ::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, exchange.socket.get(), &event);
    }
    absl::StatusOr<std::optional<std::string>> words = std::nullopt;
    if (status.ok()) words = exchange.Read();
    if (!words.ok()) status = words.status();
    if (status.ok() && !words->has_value()) return false;
    if (exchange.answered) {
      if (status.ok() && (*words)->empty()) status = absl::UnavailableError("the server takes no more connections");
      exchange.answered(status.ok() ? absl::StatusOr<std::string>(**words) : status);
    } else if (status.ok()) {
      exchange.out = Framed(worker_->Answer(**words).value_or(""));
      (void)exchange.Write();  // a few hundred bytes into a new socket
    }
    return true;
  }

  const std::unique_ptr<Worker> worker_;
  const OwnedFd epoll_;
  std::optional<Acceptor> acceptor_;
  std::vector<Exchange> exchanges_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Worker>> IntroducedTransport::CreateWorker() const {
  ASSIGN_OR_RETURN(std::unique_ptr<Worker> worker, transport_.CreateWorker());
  OwnedFd epoll(::epoll_create1(EPOLL_CLOEXEC));
  if (!epoll.valid()) return ErrnoStatus(errno, "creating a worker");
  return std::make_unique<IntroducedWorker>(std::move(worker), std::move(epoll));
}

absl::StatusOr<const Transport*> FindTransportByAddress(std::string_view name) {
  ASSIGN_OR_RETURN(const Transport* const transport, FindTransport(name));
  if (!transport->introduces()) return transport;
  static const IntroducedTransport introduced(*transport);  // there is one such
  return &introduced;
}

}  // namespace droidspeak
