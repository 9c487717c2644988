// SPDX-License-Identifier: Apache-2.0
#include "common/transport/tcp/tcp_transport.h"

#include "common/transport/tcp/tcp_worker.h"

namespace droidspeak {

absl::StatusOr<std::unique_ptr<Worker>> TcpTransport::CreateWorker() const {
  return tcp::TcpWorker::Create(streams_);
}

}  // namespace droidspeak
