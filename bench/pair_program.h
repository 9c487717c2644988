// SPDX-License-Identifier: Apache-2.0
// Another project's benchmark of two processes, one of which listens, as a baseline.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace droidspeak::bench {

struct PairProgram {
  std::string program;
  // `PORT` among them stands for the one chosen.
  std::vector<std::string> server;
  std::vector<std::string> client;
  std::vector<std::string> environment;  // NAME=VALUE, before this process's own
};

// What the client printed. NOT_FOUND if the program is not there; UNAVAILABLE when its server does not listen.
[[nodiscard]] absl::StatusOr<std::string> OutputOf(const PairProgram& pair);

}  // namespace droidspeak::bench
