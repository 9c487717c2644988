// SPDX-License-Identifier: Apache-2.0
// Anywhere: the project's own use of TCP sockets.
#pragma once

#include <cstdint>

#include "common/transport/transport.h"

namespace droidspeak {

// How many streams a connection gets beyond its first; decided by its server. Networks often limit a single TCP flow to
// a part of their links' speed (and loss slows each flow by itself), which a host's own loopback does not: there more
// streams only take more of the processor's cache.
struct TcpStreams {
  uint32_t within_host = 0;
  uint32_t between_hosts = 3;
};

class TcpTransport final : public Transport {
 public:
  explicit TcpTransport(const TcpStreams& streams = {}) : streams_(streams) {}
  std::string_view name() const override { return "tcp"; }
  // All addresses of a name, with commas between: they are tried in turn.
  absl::StatusOr<std::string> Resolve(const std::string& address) const override;
  absl::StatusOr<std::unique_ptr<Worker>> CreateWorker() const override;

 private:
  const TcpStreams streams_;
};

}  // namespace droidspeak
