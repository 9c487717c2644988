// SPDX-License-Identifier: Apache-2.0
// A network address as configured: HOST:PORT.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace droidspeak {

struct HostPort {
  std::string host;  // without the brackets of an IPv6 address
  uint16_t port = 0;

  // "cache-0.local:7400", "127.0.0.1:0", "[::1]:7400".
  [[nodiscard]] static absl::StatusOr<HostPort> Parse(std::string_view text);
  std::string ToString() const;
  // True if nothing outside this host can reach it: "localhost", 127.0.0.0/8 or ::1. Other names count as reachable.
  bool IsLoopback() const;

  friend bool operator==(const HostPort&, const HostPort&) = default;
};

}  // namespace droidspeak
