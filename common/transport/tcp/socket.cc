// SPDX-License-Identifier: Apache-2.0
#include "common/transport/tcp/socket.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "common/base/files.h"
#include "common/base/status.h"

namespace droidspeak::tcp {
namespace {

// A peer that takes nothing, or whose host answers nothing, for so long is gone. A process that is merely starved on a
// busy machine must not be.
constexpr unsigned kSilenceMs = 5000;
constexpr int kProbeSeconds = 1;
// What the kernel takes beyond what the network does: first tokens must not wait behind what was queued before them.
constexpr int kUnsentBytes = 1 << 20;

absl::StatusOr<OwnedFd> NewSocket(const SocketAddress& address) {
  OwnedFd fd(::socket(address.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return ErrnoStatus(errno, "opening a TCP socket");
  return fd;
}

absl::Status SetOption(int fd, int level, int option, int value) {
  if (::setsockopt(fd, level, option, &value, sizeof(value)) == 0) return absl::OkStatus();
  return ErrnoStatus(errno, absl::StrCat("setting option ", option, " of a TCP socket"));
}

msghdr MessageOf(absl::Span<const iovec> pieces) {
  msghdr message{};
  message.msg_iov = const_cast<iovec*>(pieces.data());
  message.msg_iovlen = pieces.size();
  return message;
}

}  // namespace

absl::StatusOr<OwnedFd> ListenAt(const SocketAddress& address) {
  ASSIGN_OR_RETURN(OwnedFd fd, NewSocket(address));
  RETURN_IF_ERROR(SetOption(fd.get(), SOL_SOCKET, SO_REUSEADDR, 1));
  if (::bind(fd.get(), address.get(), address.bytes) != 0 || ::listen(fd.get(), SOMAXCONN) != 0) {
    return ErrnoStatus(errno == EADDRINUSE ? EEXIST : errno, absl::StrCat("listening at ", address.ToString()));
  }
  return fd;
}

absl::StatusOr<OwnedFd> StartConnecting(const SocketAddress& address) {
  ASSIGN_OR_RETURN(OwnedFd fd, NewSocket(address));
  RETURN_IF_ERROR(Configure(fd.get()));
  if (::connect(fd.get(), address.get(), address.bytes) != 0 && errno != EINPROGRESS) {
    return absl::UnavailableError(absl::StrCat("connecting to ", address.ToString(), ": ", strerror(errno)));
  }
  return fd;
}

absl::StatusOr<OwnedFd> StartConnectingToAny(std::vector<SocketAddress>& addresses) {
  while (true) {
    absl::StatusOr<OwnedFd> socket = StartConnecting(addresses.front());
    if (socket.ok() || addresses.size() == 1) return socket;
    addresses.erase(addresses.begin());
  }
}

absl::Status ConnectResult(int fd) {
  int error = 0;
  socklen_t bytes = sizeof(error);
  if (::getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &bytes) != 0) error = errno;
  if (error == 0) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat("connecting: ", strerror(error)));
}

absl::Status Configure(int fd) {
  RETURN_IF_ERROR(SetOption(fd, IPPROTO_TCP, TCP_NODELAY, 1));
  RETURN_IF_ERROR(SetOption(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, kUnsentBytes));
  RETURN_IF_ERROR(SetOption(fd, SOL_SOCKET, SO_KEEPALIVE, 1));
  RETURN_IF_ERROR(SetOption(fd, IPPROTO_TCP, TCP_KEEPIDLE, kProbeSeconds));
  RETURN_IF_ERROR(SetOption(fd, IPPROTO_TCP, TCP_KEEPINTVL, kProbeSeconds));
  return SetOption(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, kSilenceMs);
}

bool IsBusy(int error) {
  return error == EAGAIN || error == EWOULDBLOCK;
}

absl::StatusOr<size_t> WriteSome(int fd, absl::Span<const iovec> pieces) {
  const msghdr message = MessageOf(pieces);
  while (true) {
    const ssize_t sent = ::sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent >= 0) return static_cast<size_t>(sent);
    if (IsBusy(errno)) return size_t{0};
    if (errno != EINTR) return absl::UnavailableError(absl::StrCat("sending: ", strerror(errno)));
  }
}

absl::StatusOr<size_t> ReadSome(int fd, absl::Span<const iovec> pieces) {
  msghdr message = MessageOf(pieces);
  while (true) {
    const ssize_t got = ::recvmsg(fd, &message, MSG_DONTWAIT);
    if (got > 0) return static_cast<size_t>(got);
    if (got == 0) return absl::UnavailableError("the peer closed the connection");
    if (IsBusy(errno)) return size_t{0};
    if (errno != EINTR) return absl::UnavailableError(absl::StrCat("receiving: ", strerror(errno)));
  }
}

void SetLowWater(int fd, size_t bytes) {
  const int value = static_cast<int>(std::max<size_t>(bytes, 1));
  ::setsockopt(fd, SOL_SOCKET, SO_RCVLOWAT, &value, sizeof(value));  // 1, its default, is always right and only slower
}

}  // namespace droidspeak::tcp
