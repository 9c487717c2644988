// SPDX-License-Identifier: Apache-2.0
// `droidspeak-ctl drain`: takes servers out of use, gently, and back.
#include <memory>

#include "client/ctl/ask_each.h"
#include "common/base/status.h"

namespace droidspeak::ctl {

Command AddDrainCommand(CLI::App& app) {
  CLI::App* const command = app.add_subcommand(
      "drain",
      "Open no more sessions and take no more blocks; sessions that are open still fetch, and readiness says no");
  const auto undo = std::make_shared<bool>(false);
  command->add_flag("--undo", *undo, "Take it back; a restart does so too");
  return {command, [undo](const Settings& settings) {
            const Ask ask = [&](AdminClient& server, Json& answer) {
              v1::DrainRequest request;
              request.set_undo(*undo);
              v1::DrainResponse response;
              RETURN_IF_ERROR(server.Call(&v1::Admin::Stub::Drain, request, response));
              answer["draining"] = !*undo;
              answer["sessions"] = response.sessions();
              return absl::OkStatus();
            };
            const auto rows = [](const Json& servers) {
              std::vector<std::vector<std::string>> rows;
              for (const Json& server : servers) {
                rows.push_back({server["server"], server["draining"] ? "yes" : "no", server["sessions"].dump()});
              }
              return rows;
            };
            return AskEach(settings, ask, {{{"server", "draining", "open sessions"}, rows}});
          }};
}

}  // namespace droidspeak::ctl
