// SPDX-License-Identifier: Apache-2.0
#include "client/ctl/ask_each.h"

#include <algorithm>
#include <iostream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/text.h"

namespace droidspeak::ctl {
namespace {

void Print(const Table& table, const std::vector<std::vector<std::string>>& rows) {
  std::vector<size_t> widths;
  for (const std::string& column : table.columns) widths.push_back(column.size());
  for (const auto& row : rows) {
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  const auto print = [&](const std::vector<std::string>& row) {
    std::string line;
    for (size_t i = 0; i < row.size(); ++i) {
      absl::StrAppend(&line, row[i]);
      if (i + 1 < row.size()) line.append(widths[i] + 2 - row[i].size(), ' ');
    }
    std::cout << line << "\n";
  };
  print(table.columns);
  for (const auto& row : rows) print(row);
}

}  // namespace

int AskEach(const Settings& settings, const Ask& ask, const std::vector<Table>& tables) {
  Json all = Json::array();
  Json answers = Json::array();
  std::vector<absl::Status> statuses;
  for (const ServerAddress& address : settings.servers) {
    Json entry = {{"server", address.name}, {"address", address.host_port}};
    absl::StatusOr<std::unique_ptr<AdminClient>> server = AdminClient::Connect(address, settings.tls);
    absl::Status status = server.status();
    if (server.ok()) {
      entry["server"] = (*server)->status().name();
      status = ask(**server, entry);
    }
    if (status.ok()) answers.push_back(entry);
    if (!status.ok()) entry["error"] = std::string(status.message());
    statuses.push_back(std::move(status));
    all.push_back(std::move(entry));
  }
  int exit_code = kExitOk;
  for (size_t i = 0; i < statuses.size(); ++i) {
    if (statuses[i].ok() || (absl::IsNotFound(statuses[i]) && !answers.empty())) continue;
    exit_code = kExitFailed;
    std::cerr << "droidspeak-ctl: " << settings.servers[i].host_port << ": " << statuses[i].message() << "\n";
  }
  if (settings.json) {
    std::cout << Json{{"servers", std::move(all)}}.dump() << std::endl;
    return exit_code;
  }
  bool first = true;
  for (const Table& table : tables) {
    const auto rows = table.rows(answers);
    if (rows.empty()) continue;
    if (!std::exchange(first, false)) std::cout << "\n";
    Print(table, rows);
  }
  return exit_code;
}

CLI::Option* AddDigestOption(CLI::App& app, const std::string& name, Digest& value, const std::string& help) {
  const auto store = [&value, name](const std::string& text) {
    const absl::StatusOr<Digest> digest = Digest::FromHex(text);
    if (!digest.ok()) throw CLI::ValidationError(name, std::string(digest.status().message()));
    value = *digest;
  };
  return app.add_option_function<std::string>(name, store, help)->type_name("HEX");
}

CLI::Option* AddDigestsOption(CLI::App& app, const std::string& name, std::vector<Digest>& values,
                              const std::string& help) {
  constexpr size_t kMost = 1000;
  const auto store = [&values, name](const std::string& text) {
    for (const absl::string_view part : absl::StrSplit(text, ',')) {
      const absl::StatusOr<Digest> digest = Digest::FromHex(ToStd(part));
      if (!digest.ok()) throw CLI::ValidationError(name, std::string(digest.status().message()));
      values.push_back(*digest);
    }
    if (values.size() > kMost) throw CLI::ValidationError(name, absl::StrCat("at most ", kMost, " blocks"));
  };
  return app.add_option_function<std::string>(name, store, help)->type_name("HEX,...");
}

}  // namespace droidspeak::ctl
