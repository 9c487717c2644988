// SPDX-License-Identifier: Apache-2.0
// InfiniBand and RoCE, by reliable connected queue pairs.
#pragma once

#include "common/transport/transport.h"

namespace droidspeak {

class VerbsTransport final : public Transport {
 public:
  // `queue_pairs`: of a connection; 0 chooses by the link's speed.
  explicit VerbsTransport(size_t queue_pairs = 0) : queue_pairs_(queue_pairs) {}
  std::string_view name() const override { return "verbs"; }
  bool introduces() const override { return true; }
  std::vector<Resource> resources() const override;
  absl::StatusOr<std::unique_ptr<Worker>> CreateWorker() const override;

 private:
  const size_t queue_pairs_;
};

}  // namespace droidspeak
