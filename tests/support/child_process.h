// SPDX-License-Identifier: Apache-2.0
// A program of ours that a test starts and ends.
#pragma once

#include <sys/types.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "nlohmann/json.hpp"

namespace droidspeak {

// A process that says on its first line, in JSON, how to reach it. Killed with the object, or with the thread that
// started it. Not thread-safe.
class ChildProcess {
 public:
  // Returns when it has said that. `command`: the program's path and its arguments.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<ChildProcess>> Start(std::vector<std::string> command);
  ~ChildProcess();
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  const nlohmann::json& said() const { return said_; }
  pid_t pid() const { return pid_; }  // -1 when it has ended

  void Signal(int signal) const;
  // Waits for its end: the exit code, or -1 if a signal ended it.
  int Wait();

 private:
  ChildProcess() = default;

  pid_t pid_ = -1;
  nlohmann::json said_;
};

}  // namespace droidspeak
