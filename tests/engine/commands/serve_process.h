// SPDX-License-Identifier: Apache-2.0
// A real `droidspeak-engine serve` process for tests.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "tests/support/child_process.h"

namespace droidspeak {

// Serves in fp32 on loopback, at a port from the kernel; killed at the end. Not thread-safe.
class ServeProcess {
 public:
  // Returns when it serves. `arguments` come after `serve --json --http 127.0.0.1:0 --dtype fp32`.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<ServeProcess>> Start(std::vector<std::string> arguments);

  // As it says itself when it starts: HOST:PORT, the name in the API, and what prompt and answer may have together.
  const std::string& address() const { return address_; }
  const std::string& model() const { return model_; }
  int64_t max_tokens() const { return max_tokens_; }

  void Signal(int signal) const { process_->Signal(signal); }
  // Waits for its end: the exit code, or -1 if a signal ended it.
  int Wait() { return process_->Wait(); }
  // SIGTERM, and waits.
  int Terminate();

 private:
  explicit ServeProcess(std::unique_ptr<ChildProcess> process);

  const std::unique_ptr<ChildProcess> process_;
  const std::string address_, model_;
  const int64_t max_tokens_;
};

}  // namespace droidspeak
