// SPDX-License-Identifier: Apache-2.0
// droidspeak-cacheserver: keeps the KV and E of models' contexts and gives them to other models.
#include <iostream>
#include <memory>
#include <optional>

#include "cacheserver/options.h"
#include "cacheserver/server.h"
#include "common/base/config.h"
#include "common/base/end_signals.h"
#include "common/base/log.h"
#include "common/base/malloc.h"
#include "common/base/text.h"
#include "nlohmann/json.hpp"

namespace {

// What requests under way have to end once the server is told to.
constexpr absl::Duration kGrace = absl::Seconds(8);

void Announce(const droidspeak::ServerOptions& options, const droidspeak::ServerAddresses& addresses, bool json) {
  spdlog::info("{} serves: control {}, data {}, local socket {}, admin {}", options.name, addresses.listen,
               addresses.data.empty() ? "-" : addresses.data,
               addresses.local_socket.empty() ? "-" : addresses.local_socket, addresses.admin);
  if (!json) return;
  const nlohmann::ordered_json line = {{"listen", addresses.listen},
                                       {"data", addresses.data},
                                       {"admin", addresses.admin},
                                       {"local_socket", addresses.local_socket}};
  std::cout << line.dump() << std::endl;
}

}  // namespace

int main(int argc, char** argv) {
  using namespace droidspeak;  // NOLINT(google-build-using-namespace): the program's own
  KeepFreedBuffers();
  Program program("droidspeak-cacheserver",
                  "Keeps the KV and E of models' contexts in memory and on disk, and gives "
                  "them to other models.");
  ServerFlags flags(program);
  if (const std::optional<int> exit_code = program.Parse(argc, argv)) return *exit_code;
  const absl::StatusOr<ServerOptions> options = flags.Check();
  if (!options.ok()) return UsageError(program.app(), std::string(options.status().message()));

  EndSignals signals;
  absl::StatusOr<std::unique_ptr<CacheServer>> server = CacheServer::Start(*options);
  if (!server.ok()) {
    std::cerr << program.app().get_name() << ": " << server.status().message() << "\n";
    return absl::IsInvalidArgument(server.status()) ? kExitUsage : kExitFailed;
  }
  signals.Started();
  Announce(*options, (*server)->addresses(), flags.json());

  spdlog::info("{}: ending; requests under way have {}", signals.Wait(), absl::FormatDuration(kGrace));
  const absl::Status stopped = (*server)->Stop(kGrace);
  if (!stopped.ok()) spdlog::error("the store did not close cleanly: {}", ToStd(stopped.message()));
  return stopped.ok() ? kExitOk : kExitFailed;
}
