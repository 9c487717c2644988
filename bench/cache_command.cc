// SPDX-License-Identifier: Apache-2.0
// `droidspeak-bench cache`: storing into and fetching from a real cache server, beside what the transport moves alone.
#include <unistd.h>

#include <algorithm>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "bench/cache_load.h"
#include "bench/command.h"
#include "bench/raw_load.h"
#include "bench/report.h"
#include "common/base/bytes.h"
#include "common/base/status.h"
#include "common/key/checksum.h"
#include "tests/support/server_process.h"

namespace droidspeak::bench {
namespace {

struct CacheOptions {
  std::string servers;  // empty: one is started
  std::string transport = "local";
  CacheShape shape;
  int repeats = 5;
  std::string order = "layer";
  bool no_checksum = false;
  bool json = false;
};

// A client with its data set stored.
struct Side {
  std::unique_ptr<Client> client;
  std::unique_ptr<CacheLoad> load;
};

struct Samples {
  std::vector<double> raw_push, raw_pull, hash, fetch, fetch_cpu, first_layer_ms, store, store_cpu;
};

absl::StatusOr<Side> Connect(const CacheOptions& options, const std::vector<ServerAddress>& servers) {
  Side side;
  ClientOptions client;
  client.servers = servers;
  client.transport = options.transport;
  client.verify_checksums = !options.no_checksum;
  ASSIGN_OR_RETURN(side.client, Client::Connect(client));
  ASSIGN_OR_RETURN(side.load, CacheLoad::Create(*side.client, options.shape));
  return side;
}

// GB/s of hashing the data set, cold, on one core.
double HashSpeed(RawLoad& raw, const CacheShape& shape) {
  const absl::Time start = absl::Now();
  uint64_t sum = 0;
  for (uint64_t offset = 0; offset < shape.total_bytes(); offset += shape.extent_bytes) {
    sum += ExtentChecksum({}, {raw.arena().base() + offset, shape.extent_bytes});
  }
  const double seconds = absl::ToDoubleSeconds(absl::Now() - start);
  // Used, so that the loop stays.
  return sum == 0 ? 0 : static_cast<double>(shape.total_bytes()) / 1e9 / seconds;
}

absl::Status Round(const CacheOptions& options, RawLoad& raw, CacheLoad& load, int server_pid, Samples* samples) {
  const double gigabytes = static_cast<double>(options.shape.total_bytes()) / 1e9;
  ASSIGN_OR_RETURN(const RawTimes push, raw.Run(RawDirection::kPush));
  ASSIGN_OR_RETURN(const RawTimes pull, raw.Run(RawDirection::kPull));
  const double hash = HashSpeed(raw, options.shape);
  const int self = static_cast<int>(getpid());
  const double cpu_before = CpuSeconds(self) + CpuSeconds(server_pid);
  ASSIGN_OR_RETURN(const double store_seconds, load.Store());
  const double cpu_stored = CpuSeconds(self) + CpuSeconds(server_pid);
  ASSIGN_OR_RETURN(const FetchTimes fetch, load.Fetch());
  const double cpu_fetched = CpuSeconds(self) + CpuSeconds(server_pid);
  if (samples == nullptr) return absl::OkStatus();
  samples->raw_push.push_back(gigabytes / push.seconds);
  samples->raw_pull.push_back(gigabytes / pull.seconds);
  samples->hash.push_back(hash);
  samples->store.push_back(gigabytes / store_seconds);
  samples->store_cpu.push_back((cpu_stored - cpu_before) / gigabytes);
  samples->fetch.push_back(gigabytes / fetch.seconds);
  samples->fetch_cpu.push_back((cpu_fetched - cpu_stored) / gigabytes);
  samples->first_layer_ms.push_back(1e3 * fetch.first_layer_seconds);
  return absl::OkStatus();
}

absl::Status Measure(const CacheOptions& options, Samples& samples) {
  std::unique_ptr<ServerProcess> own;
  std::vector<ServerAddress> servers;
  if (options.servers.empty()) {
    // Room for what two rounds store: while one is stored, the one before is evicted.
    const uint64_t pool = 2 * options.shape.total_bytes() + (256 << 20);
    ASSIGN_OR_RETURN(
        own, ServerProcess::Start("bench", {absl::StrCat("--host-pool=", pool), "--transport=" + options.transport}));
    servers.push_back({"bench", own->listen()});
  } else {
    ASSIGN_OR_RETURN(servers, ParseServers(options.servers));
  }
  RawShape shape{options.shape.layers, options.shape.blocks, options.shape.extent_bytes};
  ASSIGN_OR_RETURN(const std::unique_ptr<RawLoad> raw, RawLoad::Create(options.transport, shape));
  ASSIGN_OR_RETURN(const Side side, Connect(options, servers));
  const int server_pid = own == nullptr ? 0 : static_cast<int>(own->pid());
  for (int i = -1; i < options.repeats; ++i) {  // the first round warms up
    std::cerr << "cache: round " << i + 1 << " of " << options.repeats << "\n";
    RETURN_IF_ERROR(Round(options, *raw, *side.load, server_pid, i < 0 ? nullptr : &samples));
  }
  return absl::OkStatus();
}

void Describe(const CacheOptions& options, const Samples& samples, Report& report) {
  report.Setting("transport", options.transport);
  report.Setting("extent_bytes", options.shape.extent_bytes);
  report.Setting("blocks", options.shape.blocks);
  report.Setting("layers", options.shape.layers);
  report.Setting("checksums", !options.no_checksum);
  report.Setting("repeats", options.repeats);
  report.Result("fetch", "GB/s", samples.fetch);
  report.Result("fetch CPU, client and server", "s/GB", samples.fetch_cpu);
  report.Result("time to layer 0", "ms", samples.first_layer_ms);
  report.Result("store", "GB/s", samples.store);
  report.Result("store CPU, client and server", "s/GB", samples.store_cpu);
  report.Result("raw push", "GB/s", samples.raw_push);
  report.Result("raw pull", "GB/s", samples.raw_pull);
  report.Result("XXH3, one core", "GB/s", samples.hash);
}

void Compare(const CacheOptions& options, const Samples& samples, Report& report) {
  const double push = Median(samples.raw_push);
  const double pull = Median(samples.raw_pull);
  const double hash = Median(samples.hash);
  if (options.no_checksum) {
    report.Ratio("fetch/raw", Median(samples.fetch) / push);
    report.Target("fetch/raw", 0.85);
    // The client always computes checksums of what it stores, and the server verifies them.
  } else {
    report.Ratio("fetch/bound", Median(samples.fetch) * (1 / push + 1 / hash));
    report.Target("fetch/bound", 0.8);
  }
  report.Ratio("store/bound", Median(samples.store) * (1 / pull + 2 / hash));
  report.Baseline(samples.raw_push);
}

int RunCache(const CacheOptions& options) {
  Samples samples;
  if (const absl::Status measured = Measure(options, samples); !measured.ok()) {
    std::cerr << "droidspeak-bench cache: " << measured.message() << "\n";
    return absl::IsInvalidArgument(measured) ? kExitUsage : kExitFailed;
  }
  Report report("cache");
  Describe(options, samples, report);
  Compare(options, samples, report);
  report.Print(options.json);
  return kExitOk;
}

}  // namespace

Command AddCacheCommand(CLI::App& app) {
  CLI::App* const command = app.add_subcommand("cache", "Store into and fetch from a cache server, layer by layer");
  CLI::App* const fetch = command->add_subcommand(
      "fetch", "Store a data set and fetch it in layer order, interleaved with the transport alone and XXH3");
  auto* const options = new CacheOptions;  // lives as long as the program
  fetch->add_option("--servers", options->servers, "[NAME=]HOST:PORT,... (default: one is started)");
  fetch->add_option("--transport", options->transport, "local, tcp or ucx")
      ->check(CLI::IsMember({"local", "tcp", "ucx"}));
  fetch->add_option("--layers", options->shape.layers)->check(CLI::Range(1, 256));
  fetch->add_option("--blocks", options->shape.blocks)->check(CLI::Range(1, 4096));
  AddBytesOption(*fetch, "--extent", options->shape.extent_bytes, "Bytes of an extent, a power of two");
  fetch->add_option("--order", options->order, "layer")->check(CLI::IsMember({"layer"}));
  fetch->add_option("--repeats", options->repeats, "Rounds measured")->check(CLI::Range(1, 1000));
  fetch->add_flag("--no-checksum", options->no_checksum, "Do not verify what arrives");
  fetch->add_flag("--json", options->json, "One JSON object on standard output");
  command->require_subcommand(1);
  return {command, [options] { return RunCache(*options); }};
}

}  // namespace droidspeak::bench
