// SPDX-License-Identifier: Apache-2.0
// droidspeak-ctl: what operators ask of cache servers.
#include <vector>

#include "absl/status/statusor.h"
#include "client/ctl/command.h"
#include "common/base/config.h"
#include "common/tls/certificate.h"

int main(int argc, char** argv) {
  using namespace droidspeak;  // NOLINT(google-build-using-namespace): the program's own
  Program program("droidspeak-ctl",
                  "Shows and changes what cache servers hold. Every verb asks each server of --servers and prints a "
                  "table, or one JSON object with --json.");
  CLI::App& app = program.app();
  std::string servers;
  ctl::Settings settings;
  app.add_option("--servers", servers,
                 "[NAME=]HOST:PORT,... of the servers' --listen; with several, each needs its NAME, which is checked")
      ->type_name("LIST")
      ->required();
  app.add_flag("--json", settings.json, "One JSON object on standard output: {\"servers\": [...]}");
  AddTlsOptions(app, settings.tls, "this operator");
  std::vector<ctl::Command> commands;
  for (const auto add :
       {ctl::AddStatusCommand, ctl::AddNamespacesCommand, ctl::AddBlocksCommand, ctl::AddCoverageCommand,
        ctl::AddPinCommand, ctl::AddUnpinCommand, ctl::AddPurgeCommand, ctl::AddDrainCommand, ctl::AddVerifyCommand}) {
    commands.push_back(add(app));
  }
  app.require_subcommand(1);
  app.footer(
      "A first look:\n"
      "  droidspeak-ctl --servers 127.0.0.1:7700 status\n"
      "  droidspeak-ctl --servers 127.0.0.1:7700 verify\n"
      "What is there, from namespaces (a model and its layout) to single blocks:\n"
      "  droidspeak-ctl --servers 127.0.0.1:7700 namespaces\n"
      "  droidspeak-ctl --servers 127.0.0.1:7700 blocks --namespace HEX --limit 20\n"
      "Exit codes: 0 all servers did it, 1 at least one did not (standard error says which and why), 2 wrong usage.\n"
      "docs/operating.md shows each verb with its output.");
  if (const std::optional<int> exit_code = program.Parse(argc, argv)) return *exit_code;

  absl::StatusOr<std::vector<ServerAddress>> parsed = ParseServers(servers);
  if (!parsed.ok()) return UsageError(app, "--servers: " + std::string(parsed.status().message()));
  settings.servers = *std::move(parsed);
  if (!settings.tls.empty()) {
    const absl::Status files = CheckTlsFiles(settings.tls);
    if (!files.ok()) return UsageError(app, std::string(files.message()));
  }
  for (const ctl::Command& command : commands) {
    if (command.app->parsed()) return command.run(settings);
  }
  return kExitUsage;
}
