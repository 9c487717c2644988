// SPDX-License-Identifier: Apache-2.0
// A transport between workers of one process: the least that keeps the contract of transport.h. It is what to read
// before writing another transport, and shows that the conformance tests ask for nothing but the contract.
#pragma once

#include "common/transport/transport.h"

namespace droidspeak {

// Addresses are names. A worker's thread is woken through its inbox, the only thing that others touch of it; transfers
// are copies on the server's thread.
class InProcessTransport final : public Transport {
 public:
  std::string_view name() const override { return "in_process"; }
  absl::StatusOr<std::unique_ptr<Worker>> CreateWorker() const override;
};

}  // namespace droidspeak
