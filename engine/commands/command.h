// SPDX-License-Identifier: Apache-2.0
// One subcommand of droidspeak-engine.
#pragma once

#include <memory>

#include "CLI/CLI.hpp"
#include "absl/status/status.h"

namespace droidspeak {

// Adds itself and its options to the program, and runs when chosen. Lives as long as the program.
class Command {
 public:
  virtual ~Command() = default;
  [[nodiscard]] virtual CLI::App* app() const = 0;
  // Prints its results on standard output. A status made by UsageStatus ends the program with 2, another error with 1.
  [[nodiscard]] virtual absl::Status Run() = 0;
};

[[nodiscard]] std::unique_ptr<Command> MakeScore(CLI::App& program);
[[nodiscard]] std::unique_ptr<Command> MakeGenerate(CLI::App& program);
[[nodiscard]] std::unique_ptr<Command> MakeFill(CLI::App& program);
[[nodiscard]] std::unique_ptr<Command> MakeEvaluate(CLI::App& program);
[[nodiscard]] std::unique_ptr<Command> MakeServe(CLI::App& program);

}  // namespace droidspeak
