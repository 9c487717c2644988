// SPDX-License-Identifier: Apache-2.0
// fio as a baseline: what the disk below a folder does by itself, with direct I/O.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"

namespace droidspeak::bench {

struct FioJob {
  std::string file;
  bool write = false;  // in order, into a new file, synced at the end; else random reads of the whole file
  uint64_t request_bytes = 1 << 20;
  uint64_t total_bytes = 0;
  int queue_depth = 8;
};

// Bytes a second. NOT_FOUND if the program is not there (Debian: fio); UNAVAILABLE with its output when it fails.
[[nodiscard]] absl::StatusOr<double> Fio(const FioJob& job);

}  // namespace droidspeak::bench
