// SPDX-License-Identifier: Apache-2.0
// UCX's own benchmark as a baseline: two processes of `ucx_perftest` over loopback TCP.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"

namespace droidspeak::bench {

// Bandwidth in bytes a second of `test` ("ucp_am_bw", "tag_bw") with messages of `message_bytes`, `total_bytes` in all.
// It sends one buffer again and again, which stays in cache. NOT_FOUND if the program is not there (Debian: ucx-utils).
[[nodiscard]] absl::StatusOr<double> UcxPerftest(const std::string& test, uint64_t message_bytes, uint64_t total_bytes);

}  // namespace droidspeak::bench
