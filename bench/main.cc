// SPDX-License-Identifier: Apache-2.0
#include <vector>

#include "bench/command.h"
#include "common/base/config.h"

int main(int argc, char** argv) {
  using droidspeak::bench::Command;
  droidspeak::Program program(
      "droidspeak-bench",
      "Load generators and side-by-side benchmarks. Each prints one JSON object, or with no --json a "
      "table.");
  std::vector<Command> commands;
  commands.push_back(droidspeak::bench::AddCacheCommand(program.app()));
  commands.push_back(droidspeak::bench::AddEchoServerCommand(program.app()));
  commands.push_back(droidspeak::bench::AddMachineCommand(program.app()));
  commands.push_back(droidspeak::bench::AddRawCommand(program.app()));
  commands.push_back(droidspeak::bench::AddRawServerCommand(program.app()));
  commands.push_back(droidspeak::bench::AddServeCommand(program.app()));
  commands.push_back(droidspeak::bench::AddSimulateCommand(program.app()));
  commands.push_back(droidspeak::bench::AddSpillCommand(program.app()));
#ifdef DROIDSPEAK_WITH_ENGINE
  commands.push_back(droidspeak::bench::AddEngineCommand(program.app()));
  commands.push_back(droidspeak::bench::AddPrefillCommand(program.app()));
  commands.push_back(droidspeak::bench::AddRandomModelCommand(program.app()));
  commands.push_back(droidspeak::bench::AddStoringCommand(program.app()));
#endif
  program.app().require_subcommand(1);
  if (const std::optional<int> exit_code = program.Parse(argc, argv); exit_code.has_value()) return *exit_code;
  for (const Command& command : commands) {
    if (command.app->parsed()) return command.run();
  }
  return droidspeak::kExitUsage;
}
