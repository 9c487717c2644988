// SPDX-License-Identifier: Apache-2.0
#include "common/transport/tcp/tcp_transport.h"

#include <string>
#include <vector>

#include "absl/strings/str_join.h"
#include "common/base/status.h"
#include "common/transport/socket_address.h"
#include "common/transport/tcp/tcp_worker.h"

namespace droidspeak {

absl::StatusOr<std::string> TcpTransport::Resolve(const std::string& address) const {
  ASSIGN_OR_RETURN(const std::vector<SocketAddress> found, SocketAddress::Resolve(address));
  return absl::StrJoin(found, ",", [](std::string* text, const SocketAddress& one) { *text += one.ToString(); });
}

absl::StatusOr<std::unique_ptr<Worker>> TcpTransport::CreateWorker() const {
  return tcp::TcpWorker::Create(streams_);
}

}  // namespace droidspeak
