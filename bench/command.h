// SPDX-License-Identifier: Apache-2.0
// The commands of droidspeak-bench: one file each, named after the command.
#pragma once

#include <functional>

#include "common/base/config.h"

namespace droidspeak::bench {

// Adds a subcommand to `app` and returns what runs it: it prints its result and returns the exit code. Called after
// Parse(), if that subcommand was given.
struct Command {
  CLI::App* app;
  std::function<int()> run;
};

Command AddCacheCommand(CLI::App& app);        // cache/cache_command.cc
Command AddEchoServerCommand(CLI::App& app);   // echo_command.cc
Command AddMachineCommand(CLI::App& app);      // machine_command.cc
Command AddRawCommand(CLI::App& app);          // raw_command.cc
Command AddRawServerCommand(CLI::App& app);    // raw_command.cc
Command AddServeCommand(CLI::App& app);        // serve/serve_command.cc
Command AddSimulateCommand(CLI::App& app);     // simulate_command.cc
Command AddSpillCommand(CLI::App& app);        // spill_command.cc
Command AddEngineCommand(CLI::App& app);       // engine/engine_command.cc; with the engine only
Command AddPrefillCommand(CLI::App& app);      // prefill_command.cc; with the engine only
Command AddRandomModelCommand(CLI::App& app);  // random_model.cc; with the engine only
Command AddStoringCommand(CLI::App& app);      // storing/storing_command.cc; with the engine only

}  // namespace droidspeak::bench
