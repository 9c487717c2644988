// SPDX-License-Identifier: Apache-2.0
// An internet address to listen at or to connect to.
#pragma once

#include <sys/socket.h>

#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace droidspeak {

// A value.
struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t bytes = 0;

  // All addresses of HOST:PORT, one or more, in the system's order of preference. Names are looked up, which may take a
  // while. UNAVAILABLE when nothing has that name.
  [[nodiscard]] static absl::StatusOr<std::vector<SocketAddress>> Resolve(const std::string& text);
  // What the socket `fd` is bound to, and what it is connected to.
  [[nodiscard]] static absl::StatusOr<SocketAddress> OfSocket(int fd);
  [[nodiscard]] static absl::StatusOr<SocketAddress> OfPeer(int fd);

  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
  bool is_ipv6() const { return storage.ss_family == AF_INET6; }
  // Nothing outside this host can have it.
  bool is_loopback() const;
  // The same host, whatever the ports.
  bool HasHostOf(const SocketAddress& other) const;
  // HOST:PORT in numbers.
  std::string ToString() const;
};

}  // namespace droidspeak
