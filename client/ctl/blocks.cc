// SPDX-License-Identifier: Apache-2.0
// `droidspeak-ctl blocks` and `coverage`: what is there of single blocks.
#include <algorithm>
#include <map>
#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "client/ctl/ask_each.h"
#include "common/base/hex.h"
#include "common/base/status.h"

namespace droidspeak::ctl {
namespace {

struct Options {
  Digest space;
  std::vector<Digest> blocks;
  uint32_t limit = 100;
};

Json Layers(const std::string& bits) {
  Json layers = Json::array();
  for (size_t byte = 0; byte < bits.size(); ++byte) {
    for (size_t bit = 0; bit < 8; ++bit) {
      if ((static_cast<unsigned char>(bits[byte]) >> bit) & 1) layers.push_back(byte * 8 + bit);
    }
  }
  return layers;
}

std::string Either(std::string a, const std::string& b) {
  a.resize(std::max(a.size(), b.size()), '\0');
  for (size_t i = 0; i < b.size(); ++i) a[i] = static_cast<char>(a[i] | b[i]);
  return a;
}

// Layers that are there in some tier, and in which.
Json KindOf(const std::string& on_host, const std::string& on_disk) {
  return {{"ready", Layers(Either(on_host, on_disk))}, {"host", Layers(on_host)}, {"rocksdb", Layers(on_disk)}};
}

Json BlockOf(const v1::BlockStatus& block) {
  return {{"hash", ToHex(block.hash())},
          {"parent", ToHex(block.parent())},
          {"position", block.position()},
          {"kv", KindOf(block.kv_on_host(), block.kv_on_disk())},
          {"e", KindOf(block.e_on_host(), block.e_on_disk())},
          {"idle_ms", block.has_idle_ms() ? Json(block.idle_ms()) : Json()},
          {"pins", block.pins()},
          {"operator_pin", block.operator_pin()},
          {"expires_unix_s", block.expiry() == 0 ? Json() : Json(block.expiry())}};
}

absl::Status AskBlocks(AdminClient& server, const Options& options, Json& answer) {
  answer["blocks"] = Json::array();
  v1::ListBlocksRequest request;
  request.set_namespace_bytes(Bytes(options.space));
  Json& blocks = answer["blocks"];
  do {
    request.set_limit(std::min<uint32_t>(200, options.limit - static_cast<uint32_t>(blocks.size())));
    v1::ListBlocksResponse page;
    RETURN_IF_ERROR(server.Call(&v1::Admin::Stub::ListBlocks, request, page));
    for (const v1::BlockStatus& block : page.blocks()) blocks.push_back(BlockOf(block));
    request.set_cursor(page.next_cursor());
  } while (!request.cursor().empty() && blocks.size() < options.limit);
  answer["more"] = !request.cursor().empty();
  std::stable_sort(blocks.begin(), blocks.end(),
                   [](const Json& a, const Json& b) { return a["position"] < b["position"]; });
  return absl::OkStatus();
}

absl::Status AskCoverage(AdminClient& server, const Options& options, Json& answer) {
  constexpr size_t kAtOnce = 200;
  std::map<std::string, Json> found;
  for (size_t first = 0; first < options.blocks.size(); first += kAtOnce) {
    v1::FindBlocksRequest request;
    request.set_namespace_bytes(Bytes(options.space));
    for (size_t i = first; i < std::min(first + kAtOnce, options.blocks.size()); ++i) {
      request.add_blocks(Bytes(options.blocks[i]));
    }
    v1::FindBlocksResponse response;
    RETURN_IF_ERROR(server.Call(&v1::Admin::Stub::FindBlocks, request, response));
    for (const v1::BlockStatus& block : response.blocks()) found[ToHex(block.hash())] = BlockOf(block);
  }
  answer["blocks"] = Json::array();
  for (const Digest& hash : options.blocks) {
    const auto block = found.find(hash.Hex());
    answer["blocks"].push_back(block == found.end() ? Json{{"hash", hash.Hex()}, {"missing", true}} : block->second);
  }
  return absl::OkStatus();
}

// "0-3,7".
std::string Ranges(const Json& layers) {
  std::vector<std::string> ranges;
  for (size_t i = 0; i < layers.size();) {
    size_t last = i;
    while (last + 1 < layers.size() && layers[last + 1] == layers[last].get<int>() + 1) ++last;
    ranges.push_back(last == i ? layers[i].dump() : absl::StrCat(layers[i].dump(), "-", layers[last].dump()));
    i = last + 1;
  }
  return ranges.empty() ? "-" : absl::StrJoin(ranges, ",");
}

std::string Seconds(int64_t seconds) {
  return absl::FormatDuration(absl::Seconds(seconds));
}

std::vector<std::string> Details(const Json& block) {
  const Json& idle = block["idle_ms"];
  const Json& expires = block["expires_unix_s"];
  std::string pins = block["pins"].dump();
  if (block["operator_pin"]) absl::StrAppend(&pins, " (ctl)");
  return {absl::StrCat(Ranges(block["kv"]["host"]), " | ", Ranges(block["kv"]["rocksdb"])),
          absl::StrCat(Ranges(block["e"]["host"]), " | ", Ranges(block["e"]["rocksdb"])),
          idle.is_null() ? "before start" : absl::StrCat(Seconds(idle.get<int64_t>() / 1000), " ago"), pins,
          expires.is_null() ? "never"
                            : absl::StrCat("in ", Seconds(expires.get<int64_t>() - absl::ToUnixSeconds(absl::Now())))};
}

std::vector<std::vector<std::string>> BlockRows(const Json& servers) {
  std::vector<std::vector<std::string>> rows;
  for (const Json& server : servers) {
    for (const Json& block : server["blocks"]) {
      std::vector<std::string> row = {server["server"], block["position"].dump(), block["hash"]};
      for (std::string& detail : Details(block)) row.push_back(std::move(detail));
      rows.push_back(std::move(row));
    }
    if (server["more"]) rows.push_back({server["server"], "...", "and more: see --limit", "", "", "", "", ""});
  }
  return rows;
}

// A row for each block in the order given, of each server that has it, or one that says that none has.
std::vector<std::vector<std::string>> CoverageRows(const Json& servers) {
  std::vector<std::vector<std::string>> rows;
  for (size_t i = 0; !servers.empty() && i < servers[0]["blocks"].size(); ++i) {
    const size_t before = rows.size();
    for (const Json& server : servers) {
      const Json& block = server["blocks"][i];
      if (block.contains("missing")) continue;
      rows.push_back({block["hash"], server["server"], block["position"].dump(), Ranges(block["kv"]["ready"]),
                      Ranges(block["e"]["ready"])});
    }
    if (rows.size() == before) rows.push_back({servers[0]["blocks"][i]["hash"], "none", "-", "-", "-"});
  }
  return rows;
}

}  // namespace

Command AddBlocksCommand(CLI::App& app) {
  CLI::App* const command = app.add_subcommand(
      "blocks", "Blocks of a namespace: layers of KV and E in host memory | RocksDB, last use, pins, expiry");
  const auto options = std::make_shared<Options>();
  AddDigestOption(*command, "--namespace", options->space, "Of the blocks; `namespaces` lists them")->required();
  command->add_option("--limit", options->limit, "At most so many a server, in no particular choice")
      ->check(CLI::Range(1, 1'000'000))
      ->type_name("N");
  return {
      command, [options](const Settings& settings) {
        const Ask ask = [&](AdminClient& server, Json& answer) { return AskBlocks(server, *options, answer); };
        return AskEach(
            settings, ask,
            {{{"server", "position", "block", "KV host | rocksdb", "E host | rocksdb", "last use", "pins", "expires"},
              BlockRows}});
      }};
}

Command AddCoverageCommand(CLI::App& app) {
  CLI::App* const command =
      app.add_subcommand("coverage", "Which layers of KV and E of named blocks are there, and on which server");
  const auto options = std::make_shared<Options>();
  AddDigestOption(*command, "--namespace", options->space, "Of the blocks; `namespaces` lists them")->required();
  AddDigestsOption(*command, "--blocks", options->blocks, "Hashes of blocks")->required();
  return {command, [options](const Settings& settings) {
            const Ask ask = [&](AdminClient& server, Json& answer) { return AskCoverage(server, *options, answer); };
            return AskEach(settings, ask, {{{"block", "server", "position", "KV layers", "E layers"}, CoverageRows}});
          }};
}

}  // namespace droidspeak::ctl
