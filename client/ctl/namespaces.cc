// SPDX-License-Identifier: Apache-2.0
// `droidspeak-ctl namespaces`: whose blocks each server has.
#include <set>

#include "client/ctl/ask_each.h"
#include "common/base/bytes.h"
#include "common/base/hex.h"
#include "common/base/status.h"

namespace droidspeak::ctl {
namespace {

absl::Status AskNamespaces(AdminClient& server, Json& answer) {
  answer["namespaces"] = Json::array();
  v1::ListNamespacesRequest request;
  do {
    v1::ListNamespacesResponse page;
    RETURN_IF_ERROR(server.Call(&v1::Admin::Stub::ListNamespaces, request, page));
    for (const v1::NamespaceStatus& space : page.namespaces()) {
      answer["namespaces"].push_back({{"namespace", ToHex(space.namespace_bytes())},
                                      {"tenant", space.tenant()},
                                      {"model", space.model().empty() ? Json() : Json(ToHex(space.model()))},
                                      {"layout", space.layout()},
                                      {"blocks", space.blocks()},
                                      {"pinned_blocks", space.pinned_blocks()},
                                      {"host_bytes", space.host_bytes()},
                                      {"rocksdb_bytes", space.rocksdb_bytes()}});
    }
    request.set_cursor(page.next_cursor());
  } while (request.cursor() != 0);
  return absl::OkStatus();
}

std::vector<std::vector<std::string>> UseRows(const Json& servers) {
  std::vector<std::vector<std::string>> rows;
  for (const Json& server : servers) {
    for (const Json& space : server["namespaces"]) {
      rows.push_back({server["server"], space["tenant"], space["namespace"], space["blocks"].dump(),
                      space["pinned_blocks"].dump(), FormatBytes(space["host_bytes"]),
                      FormatBytes(space["rocksdb_bytes"])});
    }
  }
  return rows;
}

// Once for all servers: they mean the same by the same namespace.
std::vector<std::vector<std::string>> MeaningRows(const Json& servers) {
  std::vector<std::vector<std::string>> rows;
  std::set<std::string> seen;
  for (const Json& server : servers) {
    for (const Json& space : server["namespaces"]) {
      const std::string name = space["namespace"];
      if (!seen.insert(name).second) continue;
      const Json& model = space["model"];
      rows.push_back({name.substr(0, 12), model.is_null() ? "-" : model.get<std::string>(), space["layout"]});
    }
  }
  return rows;
}

}  // namespace

Command AddNamespacesCommand(CLI::App& app) {
  CLI::App* const command = app.add_subcommand(
      "namespaces", "Whose blocks are there: a namespace is one tenant's, one model's, in one layout");
  return {command, [](const Settings& settings) {
            return AskEach(settings, AskNamespaces,
                           {{{"server", "tenant", "namespace", "blocks", "pinned", "host", "rocksdb"}, UseRows},
                            {{"namespace", "model", "layout"}, MeaningRows}});
          }};
}

}  // namespace droidspeak::ctl
