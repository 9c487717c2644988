// SPDX-License-Identifier: Apache-2.0
// Same host: the client's slab is a memfd that the server maps; a Unix socket carries messages and descriptors.
#pragma once

#include "common/transport/transport.h"

namespace droidspeak {

class LocalTransport final : public Transport {
 public:
  std::string_view name() const override { return "local"; }
  absl::StatusOr<std::unique_ptr<Worker>> CreateWorker() const override;
};

}  // namespace droidspeak
