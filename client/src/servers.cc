// SPDX-License-Identifier: Apache-2.0
#include <string>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_split.h"
#include "common/base/host_port.h"
#include "common/base/status.h"
#include "droidspeak/client.h"

namespace droidspeak {

absl::StatusOr<std::vector<ServerAddress>> ParseServers(const std::string& list) {
  std::vector<ServerAddress> servers;
  absl::flat_hash_set<std::string> names;
  for (const absl::string_view part : absl::StrSplit(list, ',')) {
    const std::vector<std::string> halves = absl::StrSplit(part, absl::MaxSplits('=', 1));
    ServerAddress server;
    if (halves.size() == 2) {
      if (halves[0].empty()) {
        return absl::InvalidArgumentError(absl::StrCat("servers: '", part, "' has no name before '='"));
      }
      server.name = halves[0];
    }
    server.host_port = halves.back();
    const absl::StatusOr<HostPort> address = HostPort::Parse(server.host_port);
    if (!address.ok()) return Annotate(address.status(), absl::StrCat("servers: '", part, "'"));
    if (!server.name.empty() && !names.insert(server.name).second) {
      return absl::InvalidArgumentError(absl::StrCat("servers: the name '", server.name, "' stands twice"));
    }
    servers.push_back(std::move(server));
  }
  if (servers.size() > 1) {
    for (const ServerAddress& server : servers) {
      if (server.name.empty()) {
        return absl::InvalidArgumentError(absl::StrCat(
            "servers: '", server.host_port, "' needs a name when there are several; write NAME=", server.host_port));
      }
    }
  }
  return servers;
}

}  // namespace droidspeak
