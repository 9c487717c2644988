// SPDX-License-Identifier: Apache-2.0
// The transports that the conformance tests know by name: those of the build, and variants of them.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "common/transport/tcp/tcp_transport.h"
#include "common/transport/transport.h"

namespace droidspeak {

// "tcp_streams" is tcp with four streams a connection within a host too.
inline absl::StatusOr<const Transport*> FindTestedTransport(const std::string& name) {
  static const TcpTransport kTcpOfFourStreams({.within_host = 3, .between_hosts = 3});
  if (name == "tcp_streams") return &kTcpOfFourStreams;
  return FindTransport(name);
}

}  // namespace droidspeak
