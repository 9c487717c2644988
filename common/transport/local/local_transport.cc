// SPDX-License-Identifier: Apache-2.0
#include "common/transport/local/local_transport.h"

#include "common/transport/local/local_worker.h"

namespace droidspeak {

absl::StatusOr<std::unique_ptr<Worker>> LocalTransport::CreateWorker() const {
  return local::LocalWorker::Create();
}

}  // namespace droidspeak
