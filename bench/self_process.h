// SPDX-License-Identifier: Apache-2.0
// This program, started again as another end of a benchmark.
#pragma once

#include <sys/types.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace droidspeak::bench {

// Owns the process: ends it with the object. Not thread-safe.
class SelfProcess {
 public:
  // Starts it with `arguments` and waits for its first line, which says that it is ready. UNAVAILABLE when it ends
  // without one.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<SelfProcess>> Start(const std::vector<std::string>& arguments);
  ~SelfProcess();
  SelfProcess(const SelfProcess&) = delete;
  SelfProcess& operator=(const SelfProcess&) = delete;

  const std::string& first_line() const { return first_line_; }
  void Signal(int signal) const;

 private:
  explicit SelfProcess(pid_t pid) : pid_(pid) {}

  const pid_t pid_;
  std::string first_line_;
};

}  // namespace droidspeak::bench
