// SPDX-License-Identifier: Apache-2.0
// `droidspeak-bench machine`: what benchmarks say about where they ran, for scripts.
#include <iostream>

#include "bench/command.h"
#include "common/base/machine.h"

namespace droidspeak::bench {

Command AddMachineCommand(CLI::App& app) {
  CLI::App* const command =
      app.add_subcommand("machine", "Print this machine's description and the program's versions");
  bool* const json = new bool(false);  // lives as long as the program
  command->add_flag("--json", *json, "As JSON");
  return {command, [json] {
            if (*json) {
              const nlohmann::json about = {
                  {"machine", MachineDescription()}, {"versions", BuildVersions()}, {"date", DateNow()}};
              std::cout << about.dump() << "\n";
            } else {
              std::cout << MachineDescription() << "\n";
            }
            return kExitOk;
          }};
}

}  // namespace droidspeak::bench
