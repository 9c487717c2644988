// SPDX-License-Identifier: Apache-2.0
// `droidspeak-bench cache fetch`: fetching from a real cache server, beside what the transport moves alone.
#include <algorithm>
#include <iostream>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "bench/cache/bounds.h"
#include "bench/cache/command.h"
#include "bench/cache/site.h"
#include "common/base/status.h"

namespace droidspeak::bench {
namespace {

struct FetchCommandOptions : CacheOptions {
  std::string order = "layer";
};

struct Samples {
  std::vector<double> fetch, fetch_cpu, first_layer_ms, store, store_cpu, single_us;
};

constexpr uint64_t kSmallExtentBytes = 64 << 10;

absl::Status Round(CacheBounds& bounds, CacheLoad& load, const CacheSite& site, Samples* samples) {
  RETURN_IF_ERROR(bounds.Round(samples != nullptr));
  const double cpu_before = site.CpuSeconds();
  ASSIGN_OR_RETURN(const StoreTimes store, load.StoreNext());
  const double cpu_stored = site.CpuSeconds();
  ASSIGN_OR_RETURN(const FetchTimes fetch, load.Fetch());
  const double cpu_fetched = site.CpuSeconds();
  if (samples == nullptr) return absl::OkStatus();
  const double gigabytes = static_cast<double>(load.shape().total_bytes()) / 1e9;
  samples->store.push_back(gigabytes / store.seconds);
  samples->store_cpu.push_back((cpu_stored - cpu_before) / gigabytes);
  samples->fetch.push_back(gigabytes / fetch.seconds);
  samples->fetch_cpu.push_back((cpu_fetched - cpu_stored) / gigabytes);
  samples->first_layer_ms.push_back(1e3 * fetch.first_layer_seconds);
  return absl::OkStatus();
}

// Each block by itself, in an order that no prefetcher guesses.
absl::Status SingleRound(CacheLoad& load, uint64_t seed, Samples* samples) {
  std::vector<int> blocks(load.shape().blocks);
  std::iota(blocks.begin(), blocks.end(), 0);
  std::shuffle(blocks.begin(), blocks.end(), std::mt19937_64(seed));
  for (const int block : blocks) {
    ASSIGN_OR_RETURN(const double seconds, load.FetchBlock(block));
    if (samples != nullptr) samples->single_us.push_back(1e6 * seconds);
  }
  return absl::OkStatus();
}

absl::Status MeasureSingle(const FetchCommandOptions& options, CacheLoad& load, Report& report) {
  Samples samples;
  RETURN_IF_ERROR(load.StoreNext().status());
  for (int i = -1; i < options.repeats; ++i) {  // the first round warms up
    RETURN_IF_ERROR(SingleRound(load, i + 2, i < 0 ? nullptr : &samples));
  }
  report.Latency("get of a block", "us", samples.single_us);
  return absl::OkStatus();
}

absl::Status MeasureLayers(const FetchCommandOptions& options, const CacheSite& site, CacheLoad& load, Report& report) {
  Samples samples;
  ASSIGN_OR_RETURN(const std::unique_ptr<CacheBounds> bounds, CacheBounds::Create(options.transport, options.shape));
  for (int i = -1; i < options.repeats; ++i) {  // the first round warms up
    std::cerr << "cache fetch: round " << i + 1 << " of " << options.repeats << "\n";
    RETURN_IF_ERROR(Round(*bounds, load, site, i < 0 ? nullptr : &samples));
  }
  report.Result("fetch", "GB/s", samples.fetch);
  report.Result("fetch CPU, client and server", "s/GB", samples.fetch_cpu);
  report.Result("time to layer 0", "ms", samples.first_layer_ms);
  report.Result("store", "GB/s", samples.store);
  report.Result("store CPU, client and server", "s/GB", samples.store_cpu);
  bounds->Describe(report);
  if (options.no_checksum) {
    report.Ratio("fetch/raw", Median(samples.fetch) / bounds->push());
    report.Target("fetch/raw", options.shape.extent_bytes <= kSmallExtentBytes ? 0.8 : 0.95);
  } else {
    report.Ratio("fetch/bound", Median(samples.fetch) / bounds->fetch());
    report.Target("fetch/bound", 0.9);
  }
  // A client computes checksums of all that it stores, and the server verifies them, whatever a fetch verifies.
  report.Ratio("store/bound", Median(samples.store) / bounds->store());
  report.Target("store/bound", 0.9);
  report.Baseline(bounds->pushes());
  return absl::OkStatus();
}

absl::Status Measure(const FetchCommandOptions& options, Report& report) {
  // Room for what two rounds store: while one is stored, the one before is evicted.
  ASSIGN_OR_RETURN(const auto site, CacheSite::Open(options, 2 * options.shape.total_bytes() + (256 << 20)));
  ASSIGN_OR_RETURN(const auto client, site->Connect(!options.no_checksum));
  ASSIGN_OR_RETURN(const auto load, CacheLoad::Create(*client, options.shape));
  return options.order == "layer" ? MeasureLayers(options, *site, *load, report)
                                  : MeasureSingle(options, *load, report);
}

int RunFetch(const FetchCommandOptions& options) {
  Report report("cache fetch");
  Describe(options, report);
  Describe(options.shape, report);
  report.Setting("checksums", !options.no_checksum);
  report.Setting("order", options.order);
  const absl::Status measured = Measure(options, report);
  return Finish("fetch", options, measured, report);
}

}  // namespace

Command AddCacheFetchCommand(CLI::App& app) {
  CLI::App* const command = app.add_subcommand(
      "fetch", "Store a data set and fetch it in layer order, interleaved with the transport alone and XXH3");
  auto* const options = new FetchCommandOptions;  // lives as long as the program
  AddCacheOptions(*command, *options);
  AddShapeOptions(*command, options->shape);
  command
      ->add_option("--order", options->order,
                   "layer: all of it, layer after layer; single: one block after the other, each waited for")
      ->check(CLI::IsMember({"layer", "single"}));
  command->add_flag("--no-checksum", options->no_checksum, "Do not verify what arrives");
  return {command, [options] { return RunFetch(*options); }};
}

}  // namespace droidspeak::bench
