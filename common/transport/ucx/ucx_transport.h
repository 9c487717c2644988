// SPDX-License-Identifier: Apache-2.0
// TCP and any fabric that UCX knows, by active messages.
#pragma once

#include "common/transport/transport.h"

namespace droidspeak {

class UcxTransport final : public Transport {
 public:
  std::string_view name() const override { return "ucx"; }
  // "1.13": other versions of UCX don't connect.
  std::string version() const override;
  absl::StatusOr<std::string> Resolve(const std::string& address) const override;
  absl::StatusOr<std::unique_ptr<Worker>> CreateWorker() const override;
};

}  // namespace droidspeak
