// SPDX-License-Identifier: Apache-2.0
// A transport whose ends must be introduced to each other, usable by address alone: for benchmarks and tests, which
// have no session to do it. Whoever reaches the address may connect.
#pragma once

#include "common/transport/transport.h"

namespace droidspeak {

// Addresses are HOST:PORT of a TCP socket that carries nothing but introductions.
class IntroducedTransport final : public Transport {
 public:
  // `transport` outlives it.
  explicit IntroducedTransport(const Transport& transport) : transport_(transport) {}
  std::string_view name() const override { return transport_.name(); }
  std::vector<Resource> resources() const override { return transport_.resources(); }
  absl::StatusOr<std::unique_ptr<Worker>> CreateWorker() const override;

 private:
  const Transport& transport_;
};

// FindTransport() for those who connect by address.
[[nodiscard]] absl::StatusOr<const Transport*> FindTransportByAddress(std::string_view name);

}  // namespace droidspeak
