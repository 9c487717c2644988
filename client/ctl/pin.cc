// SPDX-License-Identifier: Apache-2.0
// `droidspeak-ctl pin` and `unpin`: what eviction and expiry leave alone.
#include <memory>

#include "client/ctl/ask_each.h"
#include "common/base/status.h"

namespace droidspeak::ctl {
namespace {

struct Options {
  Digest space;
  std::vector<Digest> blocks;
  bool all = false;
};

std::vector<std::vector<std::string>> PinRows(const Json& servers) {
  std::vector<std::vector<std::string>> rows;
  for (const Json& server : servers) {
    rows.push_back({server["server"], server["changed"].dump(),
                    server["persistent"] ? "until unpin" : "until unpin or the server's end: it has no --spill"});
  }
  return rows;
}

std::vector<std::vector<std::string>> UnpinRows(const Json& servers) {
  std::vector<std::vector<std::string>> rows;
  for (const Json& server : servers) rows.push_back({server["server"], server["changed"].dump()});
  return rows;
}

int Change(const Settings& settings, const Options& options, bool pin) {
  v1::PinRequest request;
  request.set_namespace_bytes(Bytes(options.space));
  for (const Digest& block : options.blocks) request.add_blocks(Bytes(block));
  request.set_all(options.all);
  const auto method = pin ? &v1::Admin::Stub::Pin : &v1::Admin::Stub::Unpin;
  const Ask ask = [&](AdminClient& server, Json& answer) {
    v1::PinResponse response;
    RETURN_IF_ERROR(server.Call(method, request, response, AdminClient::kChange));
    answer["changed"] = response.changed();
    answer["persistent"] = response.persistent();
    return absl::OkStatus();
  };
  if (!pin) return AskEach(settings, ask, {{{"server", "unpinned"}, UnpinRows}});
  return AskEach(settings, ask, {{{"server", "pinned", "lasts"}, PinRows}});
}

Command Add(CLI::App& app, const std::string& verb, const std::string& help, bool pin) {
  CLI::App* const command = app.add_subcommand(verb, help);
  const auto options = std::make_shared<Options>();
  AddDigestOption(*command, "--namespace", options->space, "Of the blocks; `namespaces` lists them")->required();
  CLI::Option* const blocks = AddDigestsOption(*command, "--blocks", options->blocks, "Hashes of blocks");
  command->add_flag("--all", options->all, "All blocks that the namespace has now")->excludes(blocks);
  return {command, [&app, verb, options, pin](const Settings& settings) {
            if (!options->blocks.empty() || options->all) return Change(settings, *options, pin);
            return UsageError(app, verb + ": give --blocks or --all");
          }};
}

}  // namespace

Command AddPinCommand(CLI::App& app) {
  return Add(app, "pin",
             "Keep blocks from eviction and expiry, across restarts; at most a tenth of what their tenant may have",
             true);
}

Command AddUnpinCommand(CLI::App& app) {
  return Add(app, "unpin", "Take back what `pin` did; sessions' own pins stay", false);
}

}  // namespace droidspeak::ctl
