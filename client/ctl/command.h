// SPDX-License-Identifier: Apache-2.0
// The verbs of droidspeak-ctl.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "common/base/config.h"
#include "common/base/tls_files.h"
#include "droidspeak/client.h"

namespace droidspeak::ctl {

// What stands before or after every verb.
struct Settings {
  std::vector<ServerAddress> servers;
  TlsFiles tls;
  bool json = false;
};

// Adds a verb to `app`. Called after Parse() if that verb was given, `run` prints its answer and returns the exit code.
struct Command {
  CLI::App* app;
  std::function<int(const Settings&)> run;
};

Command AddStatusCommand(CLI::App& app);      // status.cc
Command AddNamespacesCommand(CLI::App& app);  // namespaces.cc
Command AddBlocksCommand(CLI::App& app);      // blocks.cc
Command AddCoverageCommand(CLI::App& app);    // blocks.cc
Command AddPinCommand(CLI::App& app);         // pin.cc
Command AddUnpinCommand(CLI::App& app);       // pin.cc
Command AddPurgeCommand(CLI::App& app);       // purge.cc
Command AddDrainCommand(CLI::App& app);       // drain.cc
Command AddVerifyCommand(CLI::App& app);      // verify.cc

}  // namespace droidspeak::ctl
