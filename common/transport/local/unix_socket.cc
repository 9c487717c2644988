// SPDX-License-Identifier: Apache-2.0
// Set-up and checks of sockets; frame_stream.cc has what goes over them.
#include "common/transport/local/unix_socket.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/files.h"
#include "common/base/status.h"

namespace droidspeak::local {
namespace {

absl::StatusOr<sockaddr_un> AddressOf(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof(address.sun_path)) {
    return absl::InvalidArgumentError(absl::StrCat("\"", path, "\" is no path of a Unix socket: 1 to ",
                                                   sizeof(address.sun_path) - 1, " bytes are expected"));
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}

absl::StatusOr<OwnedFd> NewSocket() {
  OwnedFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return ErrnoStatus(errno, "opening a Unix socket");
  return fd;
}

const sockaddr* AsSockaddr(const sockaddr_un& address) {
  return reinterpret_cast<const sockaddr*>(&address);
}

// Removes a socket file that nobody listens on.
absl::Status RemoveStale(const std::string& path, const sockaddr_un& address) {
  struct stat info;
  if (::lstat(path.c_str(), &info) != 0) {
    return errno == ENOENT ? absl::OkStatus() : ErrnoStatus(errno, absl::StrCat("looking at ", path));
  }
  if (!S_ISSOCK(info.st_mode)) {
    return absl::AlreadyExistsError(absl::StrCat(path, " exists and is not a socket"));
  }
  ASSIGN_OR_RETURN(const OwnedFd probe, NewSocket());
  if (::connect(probe.get(), AsSockaddr(address), sizeof(address)) == 0 || errno != ECONNREFUSED) {
    return absl::AlreadyExistsError(absl::StrCat("another server listens at ", path));
  }
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) return ErrnoStatus(errno, absl::StrCat("removing ", path));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<OwnedFd> ListenAt(const std::string& path) {
  ASSIGN_OR_RETURN(const sockaddr_un address, AddressOf(path));
  RETURN_IF_ERROR(RemoveStale(path, address));
  ASSIGN_OR_RETURN(OwnedFd fd, NewSocket());
  // Before bind(), so that the file never has another mode.
  if (::fchmod(fd.get(), 0600) != 0) return ErrnoStatus(errno, "setting a socket's mode");
  if (::bind(fd.get(), AsSockaddr(address), sizeof(address)) != 0) {
    return ErrnoStatus(errno, absl::StrCat("binding ", path));
  }
  if (::listen(fd.get(), SOMAXCONN) != 0) return ErrnoStatus(errno, absl::StrCat("listening at ", path));
  return fd;
}

absl::StatusOr<OwnedFd> ConnectTo(const std::string& path) {
  ASSIGN_OR_RETURN(const sockaddr_un address, AddressOf(path));
  ASSIGN_OR_RETURN(OwnedFd fd, NewSocket());
  if (::connect(fd.get(), AsSockaddr(address), sizeof(address)) != 0) {
    if (errno == ECONNREFUSED || errno == ENOENT || errno == EAGAIN) {
      return absl::UnavailableError(absl::StrCat("no server accepts connections at ", path, ": ", strerror(errno)));
    }
    return ErrnoStatus(errno, absl::StrCat("connecting to ", path));
  }
  return fd;
}

absl::Status CheckPeer(int socket) {
  ucred peer{};
  socklen_t bytes = sizeof(peer);
  if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &bytes) != 0) {
    return ErrnoStatus(errno, "asking for the peer's user");
  }
  if (peer.uid != ::geteuid() && peer.uid != 0) {
    return absl::PermissionDeniedError(absl::StrCat("the other end of a local connection runs as user ", peer.uid,
                                                    "; expected ", ::geteuid(), " or root"));
  }
  return absl::OkStatus();
}

}  // namespace droidspeak::local
