// SPDX-License-Identifier: Apache-2.0
// Which transport a session uses.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace droidspeak {

struct OfferedTransport {
  std::string name;
  std::string detail;
};

struct ServedTransport {
  std::string name;
  std::string address;  // path of a socket for `local`, else HOST:PORT
  std::string detail;   // must be equal at both ends: ucx's major.minor version
  bool encrypted = false;
};

// What this server serves, best first.
struct ServedTransports {
  std::string host_id;  // the kernel's boot id
  std::vector<ServedTransport> transports;
};

struct TransportChoice {
  std::string name;
  std::string address;
  bool encrypted = false;
  std::string reason;  // for the client's log
};

// The first that the client offers too and that is possible: `local` needs both ends on one host, `ucx` the same
// major.minor version (others don't understand each other). FAILED_PRECONDITION says why none is.
[[nodiscard]] absl::StatusOr<TransportChoice> ChooseTransport(const ServedTransports& served,
                                                              const std::string& client_host_id,
                                                              const std::vector<OfferedTransport>& offers);

// The kernel's boot id: equal on all processes of a host, different after each boot.
[[nodiscard]] absl::StatusOr<std::string> ReadHostId();

}  // namespace droidspeak
