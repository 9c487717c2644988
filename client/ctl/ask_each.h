// SPDX-License-Identifier: Apache-2.0
// One question to each server, and the answers as tables or JSON.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "client/ctl/admin_client.h"
#include "client/ctl/command.h"
#include "nlohmann/json.hpp"

namespace droidspeak::ctl {

using Json = nlohmann::ordered_json;

// Asks one server; what it answers goes into `answer`.
using Ask = std::function<absl::Status(AdminClient& server, Json& answer)>;

// A table for people: its rows from the answers of all servers, each with its name under "server".
struct Table {
  std::vector<std::string> columns;
  std::function<std::vector<std::vector<std::string>>(const Json& answers)> rows;
};

// Asks one server after the other. Prints {"servers": [{"server", "address", …answer or "error"}]} with --json, else
// the tables that have rows; errors go to standard error with the server's address. NOT_FOUND from some servers is no
// error while another has what was asked for. Returns the exit code.
int AskEach(const Settings& settings, const Ask& ask, const std::vector<Table>& tables);

// A required option that names a namespace, and one with a list of blocks. What is not hexadecimal is wrong usage.
CLI::Option* AddDigestOption(CLI::App& app, const std::string& name, Digest& value, const std::string& help);
CLI::Option* AddDigestsOption(CLI::App& app, const std::string& name, std::vector<Digest>& values,
                              const std::string& help);

inline std::string Bytes(const Digest& digest) {
  return std::string(digest.view());
}

}  // namespace droidspeak::ctl
