// SPDX-License-Identifier: Apache-2.0
// perftest, the benchmark of RDMA devices themselves, as a baseline of the `verbs` transport.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"

namespace droidspeak::bench {

// What `test` measures between two processes over the device that the transport would take: bytes a second of
// "ib_write_bw" and "ib_read_bw", typical microseconds of "ib_write_lat". NOT_FOUND if the program is not there
// (Debian: perftest).
[[nodiscard]] absl::StatusOr<double> VerbsPerftest(const std::string& test, uint64_t message_bytes, uint64_t messages);

}  // namespace droidspeak::bench
