// SPDX-License-Identifier: Apache-2.0
// The command line of droidspeak-cacheserver.
#pragma once

#include <string>
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
  absl::Status CheckSecurity(ServerOptions& options) const;

  ServerOptions options_;
  std::string transport_ = "auto";
  std::string tenant_rule_ = "cn";
  std::string role_rule_;
  std::vector<std::string> quotas_;
  bool ucx_trust_peers_ = false;
  uint64_t gpu_pool_bytes_ = 0;
  bool insecure_ = false;
  bool json_ = false;
};

}  // namespace droidspeak
