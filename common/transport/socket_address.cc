// SPDX-License-Identifier: Apache-2.0
#include "common/transport/socket_address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>

#include <cstring>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "common/base/files.h"
#include "common/base/host_port.h"
#include "common/base/status.h"

namespace droidspeak {

absl::StatusOr<std::vector<SocketAddress>> SocketAddress::Resolve(const std::string& text) {
  ASSIGN_OR_RETURN(const HostPort parsed, HostPort::Parse(text));
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const std::string port = absl::StrCat(parsed.port);
  if (const int error = ::getaddrinfo(parsed.host.c_str(), port.c_str(), &hints, &found); error != 0) {
    return absl::UnavailableError(absl::StrCat("looking up \"", parsed.host, "\": ", ::gai_strerror(error)));
  }
  const absl::Cleanup release = [found] { ::freeaddrinfo(found); };
  std::vector<SocketAddress> addresses;
  for (const addrinfo* one = found; one != nullptr; one = one->ai_next) {
    SocketAddress& address = addresses.emplace_back();
    std::memcpy(&address.storage, one->ai_addr, one->ai_addrlen);
    address.bytes = one->ai_addrlen;
  }
  return addresses;
}

absl::StatusOr<SocketAddress> SocketAddress::OfSocket(int fd) {
  SocketAddress address;
  address.bytes = sizeof(address.storage);
  if (::getsockname(fd, reinterpret_cast<sockaddr*>(&address.storage), &address.bytes) != 0) {
    return ErrnoStatus(errno, "asking for a socket's address");
  }
  return address;
}

absl::StatusOr<SocketAddress> SocketAddress::OfPeer(int fd) {
  SocketAddress address;
  address.bytes = sizeof(address.storage);
  if (::getpeername(fd, reinterpret_cast<sockaddr*>(&address.storage), &address.bytes) != 0) {
    return ErrnoStatus(errno, "asking for a peer's address");
  }
  return address;
}

bool SocketAddress::is_loopback() const {
  if (is_ipv6()) {
    const in6_addr& v6 = reinterpret_cast<const sockaddr_in6&>(storage).sin6_addr;
    return IN6_IS_ADDR_LOOPBACK(&v6) != 0 || (IN6_IS_ADDR_V4MAPPED(&v6) != 0 && v6.s6_addr[12] == IN_LOOPBACKNET);
  }
  const auto& v4 = reinterpret_cast<const sockaddr_in&>(storage);
  return (ntohl(v4.sin_addr.s_addr) >> 24) == IN_LOOPBACKNET;
}

bool SocketAddress::HasHostOf(const SocketAddress& other) const {
  if (is_ipv6() != other.is_ipv6()) return false;
  if (is_ipv6()) {
    return std::memcmp(&reinterpret_cast<const sockaddr_in6&>(storage).sin6_addr,
                       &reinterpret_cast<const sockaddr_in6&>(other.storage).sin6_addr, sizeof(in6_addr)) == 0;
  }
  return reinterpret_cast<const sockaddr_in&>(storage).sin_addr.s_addr ==
         reinterpret_cast<const sockaddr_in&>(other.storage).sin_addr.s_addr;
}

std::string SocketAddress::ToString() const {
  char host[INET6_ADDRSTRLEN] = "?";
  if (is_ipv6()) {
    const auto& v6 = reinterpret_cast<const sockaddr_in6&>(storage);
    ::inet_ntop(AF_INET6, &v6.sin6_addr, host, sizeof(host));
    return absl::StrCat("[", host, "]:", ntohs(v6.sin6_port));
  }
  const auto& v4 = reinterpret_cast<const sockaddr_in&>(storage);
  ::inet_ntop(AF_INET, &v4.sin_addr, host, sizeof(host));
  return absl::StrCat(host, ":", ntohs(v4.sin_port));
}

}  // namespace droidspeak
