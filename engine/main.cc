// SPDX-License-Identifier: Apache-2.0
// droidspeak-engine: a libtorch engine that answers from another model's cache.
#include <memory>
#include <optional>
#include <vector>

#include "common/base/config.h"
#include "common/base/malloc.h"
#include "engine/commands/command.h"
#include "engine/commands/options.h"

int main(int argc, char** argv) {
  droidspeak::KeepAllFreedBuffers();
  droidspeak::Program program("droidspeak-engine", "Runs language models, on other models' caches too");
  CLI::App& app = program.app();
  std::vector<std::unique_ptr<droidspeak::Command>> commands;
  commands.push_back(droidspeak::MakeScore(app));
  commands.push_back(droidspeak::MakeGenerate(app));
  commands.push_back(droidspeak::MakeFill(app));
  commands.push_back(droidspeak::MakeEvaluate(app));
  commands.push_back(droidspeak::MakeServe(app));
  app.require_subcommand(1);
  if (const std::optional<int> code = program.Parse(argc, argv)) return *code;
  for (const auto& command : commands) {
    if (command->app()->parsed()) return droidspeak::Report(command->app()->get_name(), command->Run());
  }
  return droidspeak::kExitUsage;
}
