// SPDX-License-Identifier: Apache-2.0
// The commands of `droidspeak-bench cache`.
#pragma once

#include "bench/command.h"

namespace droidspeak::bench {

Command AddCacheFetchCommand(CLI::App& app);      // fetch_command.cc
Command AddCacheFillCommand(CLI::App& app);       // fill_command.cc
Command AddCacheMixedCommand(CLI::App& app);      // mixed_command.cc
Command AddCacheCoverageCommand(CLI::App& app);   // coverage_command.cc
Command AddCacheContenderCommand(CLI::App& app);  // contender.cc; not for people

}  // namespace droidspeak::bench
