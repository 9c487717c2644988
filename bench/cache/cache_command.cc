// SPDX-License-Identifier: Apache-2.0
// `droidspeak-bench cache`: what a real cache server does, measured by a client.
#include <vector>

#include "bench/cache/command.h"

namespace droidspeak::bench {

Command AddCacheCommand(CLI::App& app) {
  CLI::App* const command = app.add_subcommand("cache", "Store into, fetch from and ask a cache server");
  const std::vector<Command> commands = {AddCacheFetchCommand(*command), AddCacheFillCommand(*command),
                                         AddCacheMixedCommand(*command), AddCacheCoverageCommand(*command),
                                         AddCacheContenderCommand(*command)};
  command->require_subcommand(1);
  return {command, [commands] {
            for (const Command& each : commands) {
              if (each.app->parsed()) return each.run();
            }
            return kExitUsage;
          }};
}

}  // namespace droidspeak::bench
