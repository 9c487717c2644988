// SPDX-License-Identifier: Apache-2.0
// The command line and configuration file of a program: the same rules for all of them.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "CLI/CLI.hpp"
#include "absl/time/time.h"
#include "common/base/host_port.h"
#include "common/base/tls_files.h"

namespace droidspeak {

inline constexpr int kExitOk = 0;
inline constexpr int kExitFailed = 1;
inline constexpr int kExitUsage = 2;

// A CLI11 application with --config FILE, --help, --version and --log-level. Add options and subcommands to app(); name
// options as in `--host-pool`; then Parse().
//
// The file is YAML: a mapping from option names (without dashes before) to values, or lists for options that may be
// repeated. Flags override it. A key that is no option of the program or of the subcommand in use is refused with file
// and line. Common options may stand before or after a subcommand.
class Program {
 public:
  Program(const std::string& name, const std::string& purpose);
  ~Program();
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  CLI::App& app() { return app_; }

  // Reads flags and file and starts the log. Returns the exit code if the program is to end now (help or version
  // printed, or a message about wrong usage on standard error), else nothing.
  [[nodiscard]] std::optional<int> Parse(int argc, const char* const* argv);

 private:
  class YamlConfig;

  CLI::App app_;
  std::string log_level_ = "info";
  std::shared_ptr<YamlConfig> yaml_;
};

// Options in the forms that people write: "4GiB" (bytes.h), "250ms" or "1h30m" (absl::ParseDuration), "HOST:PORT".
CLI::Option* AddBytesOption(CLI::App& app, const std::string& name, uint64_t& value, const std::string& help);
CLI::Option* AddDurationOption(CLI::App& app, const std::string& name, absl::Duration& value, const std::string& help);
CLI::Option* AddHostPortOption(CLI::App& app, const std::string& name, HostPort& value, const std::string& help);
// --tls-cert, --tls-key and --tls-ca; `whose` names the program in their help ("this client").
void AddTlsOptions(CLI::App& app, TlsFiles& files, const std::string& whose);

// Prints `message` to standard error as "NAME: message" and returns kExitUsage, for checks that follow Parse().
int UsageError(const CLI::App& app, const std::string& message);

}  // namespace droidspeak
