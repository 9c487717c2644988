// SPDX-License-Identifier: Apache-2.0
// `droidspeak-ctl purge`: removes blocks for good.
#include <memory>

#include "client/ctl/ask_each.h"
#include "common/base/status.h"

namespace droidspeak::ctl {
namespace {

struct Options {
  Digest space;
  Digest model;
  std::string tenant;
  bool yes = false;
};

std::vector<std::vector<std::string>> Rows(const Json& servers) {
  std::vector<std::vector<std::string>> rows;
  for (const Json& server : servers) {
    rows.push_back({server["server"], server["namespaces"].dump(), server["blocks"].dump()});
  }
  return rows;
}

int Purge(const Settings& settings, const v1::PurgeRequest& request) {
  const Ask ask = [&](AdminClient& server, Json& answer) {
    v1::PurgeResponse response;
    RETURN_IF_ERROR(server.Call(&v1::Admin::Stub::Purge, request, response, AdminClient::kChange));
    answer["namespaces"] = response.namespaces();
    answer["blocks"] = response.blocks();
    return absl::OkStatus();
  };
  return AskEach(settings, ask, {{{"server", "namespaces", "blocks removed"}, Rows}});
}

}  // namespace

Command AddPurgeCommand(CLI::App& app) {
  CLI::App* const command = app.add_subcommand(
      "purge", "Remove all blocks of a namespace, a model or a tenant from all tiers, pinned ones too; needs --yes");
  const auto options = std::make_shared<Options>();
  CLI::App* const what = command->add_option_group("what", "Exactly one of these");
  CLI::Option* const space = AddDigestOption(*what, "--namespace", options->space, "A namespace");
  CLI::Option* const model =
      AddDigestOption(*what, "--model", options->model, "A model's digest: its namespaces of all tenants and layouts");
  what->add_option("--tenant", options->tenant, "A tenant: all its namespaces")->type_name("NAME");
  what->require_option(1);
  command->add_flag("--yes", options->yes, "Really: what is removed has to be computed again");
  return {command, [&app, options, space, model](const Settings& settings) {
            if (!options->yes) {
              return UsageError(app, "purge: this removes blocks for good; say --yes if that is what you want");
            }
            v1::PurgeRequest request;
            if (space->count() > 0) {
              request.set_namespace_bytes(Bytes(options->space));
            } else if (model->count() > 0) {
              request.set_model(Bytes(options->model));
            } else {
              request.set_tenant(options->tenant);
            }
            return Purge(settings, request);
          }};
}

}  // namespace droidspeak::ctl
