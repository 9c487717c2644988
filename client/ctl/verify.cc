// SPDX-License-Identifier: Apache-2.0
// `droidspeak-ctl verify`: stores, finds, fetches, compares and removes a few blocks on each server.
#include <algorithm>
#include <cstring>
#include <memory>
#include <random>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "client/ctl/ask_each.h"
#include "common/base/bytes.h"
#include "common/base/status.h"
#include "common/key/block_hash.h"
#include "common/transport/transport.h"

namespace droidspeak::ctl {
namespace {

// One namespace a tenant for all verifications: namespaces are never forgotten. Each verification has random tokens, so
// that its blocks are its own.
constexpr char kWeights[] = "droidspeak-ctl verify";
constexpr char kLayout[] = "v1;layers=4;kv_heads=2;head_dim=64;hidden=256;block_tokens=64;kv=bf16;e=bf16;key=pre-rope";
constexpr int kBlocks = 8;
constexpr absl::Duration kLimit = absl::Seconds(20);

class Verification {
 public:
  Verification(Client& client, AdminClient& admin) : client_(client), admin_(admin) {}

  // `answer` says how long each step took.
  absl::Status Run(Json& answer);

 private:
  absl::Status Prepare();
  absl::Status Put();
  absl::Status Cover();
  absl::Status Get();
  absl::Status Remove();

  uint64_t bytes() const { return kBlocks * ns_.layout.layers * (ns_.layout.kv_bytes() + ns_.layout.e_bytes()); }
  // All KV and E; what is put lies in the region's first half, what is fetched in its second.
  std::vector<TransferItem> Items(uint64_t base) const;
  std::array<uint64_t, 4> AllLayers() const { return {(uint64_t{1} << ns_.layout.layers) - 1}; }

  Client& client_;
  AdminClient& admin_;
  NamespaceHandle ns_;
  std::vector<Digest> blocks_;
  std::vector<uint32_t> slots_;
  std::unique_ptr<Region> region_;
};

std::vector<TransferItem> Verification::Items(uint64_t base) const {
  std::vector<TransferItem> items;
  for (Kind kind : {Kind::kKv, Kind::kE}) {
    const uint64_t extent_bytes = ns_.layout.extent_bytes(kind);
    for (int layer = 0; layer < static_cast<int>(ns_.layout.layers); ++layer) {
      const uint64_t second = kind == Kind::kKv ? base + ns_.layout.k_bytes() : 0;
      items.push_back({kind, layer, region_.get(), base, second, extent_bytes});
      base += kBlocks * extent_bytes;
    }
  }
  return items;
}

absl::Status Verification::Prepare() {
  ASSIGN_OR_RETURN(const Layout layout, Layout::Parse(kLayout));
  ASSIGN_OR_RETURN(ns_, client_.OpenNamespace(Sha256Of(kWeights), nullptr, layout));
  std::random_device seed;
  std::mt19937_64 random(uint64_t{seed()} << 32 | seed());
  std::vector<uint32_t> tokens(kBlocks * layout.block_tokens);
  for (uint32_t& token : tokens) token = static_cast<uint32_t>(random());
  blocks_ = BlockHashes(ns_.bytes, tokens, layout.block_tokens);
  for (uint32_t i = 0; i < kBlocks; ++i) slots_.push_back(i);
  ASSIGN_OR_RETURN(region_, client_.AllocateRegion(2 * bytes()));
  for (uint64_t at = 0; at < bytes(); at += sizeof(uint64_t)) {
    const uint64_t word = random();
    std::memcpy(region_->data() + at, &word, sizeof word);
  }
  return absl::OkStatus();
}

absl::Status Verification::Put() {
  StoreOptions options;
  options.blocks = blocks_;
  options.parent = ns_.bytes;
  options.kv = options.e = AllLayers();
  ASSIGN_OR_RETURN(const std::unique_ptr<Store> store, client_.StartStore(ns_, std::move(options)));
  for (const BlockWants& wants : store->wants()) {
    if (wants.kv == AllLayers() && wants.e == AllLayers()) continue;
    return absl::UnavailableError("the server does not want what it was offered: is it draining, or full?");
  }
  RETURN_IF_ERROR(store->Fill(Items(0), std::vector<int>(slots_.begin(), slots_.end()), slots_));
  RETURN_IF_ERROR(store->WaitFilled(absl::Now() + kLimit));
  return store->Seal(/*durable=*/false, absl::Now() + kLimit);
}

absl::Status Verification::Cover() {
  for (const BlockCoverage& block : client_.Coverage(ns_, blocks_)) {
    if (block.kv != AllLayers() || block.e != AllLayers()) return absl::DataLossError("a stored block is not there");
  }
  return absl::OkStatus();
}

absl::Status Verification::Get() {
  FetchOptions options;
  options.items = Items(bytes());
  options.blocks = blocks_;
  options.slots = slots_;
  options.deadline = kLimit;
  const int items = static_cast<int>(options.items.size());
  ASSIGN_OR_RETURN(const std::unique_ptr<Fetch> fetch, client_.StartFetch(ns_, std::move(options)));
  const absl::Time deadline = absl::Now() + kLimit;
  for (int item = 0; item < items; ++item) {
    const int good = fetch->Wait(item, kBlocks, deadline);
    if (good == kBlocks) continue;
    return absl::DataLossError(absl::StrCat("of item ", item, " only ", good, " of ", kBlocks, " blocks came back"));
  }
  if (std::memcmp(region_->data(), region_->data() + bytes(), bytes()) == 0) return absl::OkStatus();
  return absl::DataLossError("what came back is not what was stored");
}

absl::Status Verification::Remove() {
  v1::PurgeRequest request;
  request.set_namespace_bytes(Bytes(ns_.bytes));
  for (const Digest& block : blocks_) request.add_blocks(Bytes(block));
  v1::PurgeResponse response;
  RETURN_IF_ERROR(admin_.Call(&v1::Admin::Stub::Purge, request, response));
  const std::vector<BlockCoverage> coverage = client_.Coverage(ns_, blocks_);
  const bool any = std::any_of(coverage.begin(), coverage.end(),
                               [](const BlockCoverage& block) { return block.kv[0] != 0 || block.e[0] != 0; });
  if (response.blocks() == kBlocks && !any) return absl::OkStatus();
  return absl::InternalError(absl::StrCat(response.blocks(), " of ", kBlocks, " blocks were removed"));
}

absl::Status Verification::Run(Json& answer) {
  RETURN_IF_ERROR(Prepare());
  answer["bytes"] = bytes();
  const std::pair<const char*, absl::Status (Verification::*)()> steps[] = {{"store", &Verification::Put},
                                                                            {"coverage", &Verification::Cover},
                                                                            {"fetch", &Verification::Get},
                                                                            {"remove", &Verification::Remove}};
  absl::Status failed;
  for (const auto& [name, step] : steps) {
    if (!failed.ok() && step != &Verification::Remove) continue;  // leave nothing behind
    const absl::Time start = absl::Now();
    const absl::Status status = (this->*step)();
    if (failed.ok()) failed = Annotate(status, name);
    answer["milliseconds"][name] = absl::ToDoubleMilliseconds(absl::Now() - start);
  }
  return failed;
}

std::vector<std::vector<std::string>> Rows(const Json& servers) {
  std::vector<std::vector<std::string>> rows;
  for (const Json& server : servers) {
    const Json& times = server["milliseconds"];
    const auto time = [&](const char* step) { return absl::StrFormat("%.1f ms", times[step].get<double>()); };
    rows.push_back({server["server"], "ok", FormatBytes(server["bytes"]), time("store"), time("coverage"),
                    time("fetch"), time("remove"), server["transport"], server["reason"]});
  }
  return rows;
}

}  // namespace

Command AddVerifyCommand(CLI::App& app) {
  CLI::App* const command = app.add_subcommand(
      "verify", "Store random blocks on each server, find, fetch and compare them, and remove them again");
  const auto transport = std::make_shared<std::string>("auto");
  std::vector<std::string> transports = TransportNames();
  transports.insert(transports.begin(), "auto");
  command->add_option("--transport", *transport, "Refuse anything else than that")
      ->check(CLI::IsMember(transports))
      ->type_name("NAME");
  return {command, [transport](const Settings& settings) {
            const Ask ask = [&](AdminClient& server, Json& answer) -> absl::Status {
              ClientOptions options;
              options.servers = {{answer["server"], answer["address"]}};
              options.transport = *transport;
              options.tls = settings.tls;
              ASSIGN_OR_RETURN(const std::unique_ptr<Client> client, Client::Connect(options));
              for (const ServerConnection& connection : client->connections()) {
                answer["transport"] = connection.transport;
                answer["reason"] = connection.reason;
              }
              return Verification(*client, server).Run(answer);
            };
            return AskEach(
                settings, ask,
                {{{"server", "verify", "bytes", "store", "coverage", "fetch", "remove", "transport", "why"}, Rows}});
          }};
}

}  // namespace droidspeak::ctl
