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

// What this server serves; an empty address means that it doesn't.
struct ServedTransports {
  std::string host_id;        // the kernel's boot id
  std::string local_address;  // path of the socket
  std::string ucx_address;    // HOST:PORT
  std::string ucx_version;    // major.minor
};

struct TransportChoice {
  std::string name;
  std::string address;
  std::string reason;  // for the client's log
};

// `local` when client and server are on the same host and the client offers it, else `ucx` when both ends have the same
// major.minor version of it (others don't understand each other). FAILED_PRECONDITION says why neither is possible.
[[nodiscard]] absl::StatusOr<TransportChoice> ChooseTransport(const ServedTransports& served,
                                                              const std::string& client_host_id,
                                                              const std::vector<OfferedTransport>& offers);

// The kernel's boot id: equal on all processes of a host, different after each boot.
[[nodiscard]] absl::StatusOr<std::string> ReadHostId();

}  // namespace droidspeak
