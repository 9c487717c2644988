// SPDX-License-Identifier: Apache-2.0
// The command line of droidspeak-cacheserver.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "cacheserver/server.h"
#include "common/base/config.h"

namespace droidspeak {

// Adds the options to a program; after its Parse(), Check() says what is wrong with their values. Lives as long as the
// program.
class ServerFlags {
 public:
  explicit ServerFlags(Program& program);

  // INVALID_ARGUMENT names the flag and what was expected.
  [[nodiscard]] absl::StatusOr<ServerOptions> Check() const;

  // Print the addresses as one JSON object on standard output.
  bool json() const { return json_; }

 private:
  ServerOptions options_;
  std::string transport_ = "auto";
  uint64_t gpu_pool_bytes_ = 0;
  bool insecure_ = false;
  bool json_ = false;
  std::vector<std::pair<std::string, CLI::Option*>> not_built_;  // by name: hidden options don't tell theirs
};

}  // namespace droidspeak
