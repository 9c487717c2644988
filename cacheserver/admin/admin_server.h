// SPDX-License-Identifier: Apache-2.0
// Health and metrics for operators, on an address of their own.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "common/base/host_port.h"
#include "common/base/http_server.h"
#include "common/base/metrics.h"

namespace droidspeak {

// What /readyz says.
struct Readiness {
  bool ready = false;    // requests are served; not while starting, drained or shutting down
  std::string degraded;  // what does not work although requests are served (disk full); empty: all is well
};

// Serves
//   /livez    200 "ok": the process answers.
//   /readyz   200 "ok", 200 "degraded: WHY" while it serves from memory only, 503 "not ready".
//   /metrics  Prometheus' text format.
// `readiness` is called on the server's thread. It and `metrics` outlive the server.
[[nodiscard]] absl::StatusOr<std::unique_ptr<HttpServer>> StartAdminServer(const HostPort& address,
                                                                           const Metrics& metrics,
                                                                           std::function<Readiness()> readiness);

}  // namespace droidspeak
