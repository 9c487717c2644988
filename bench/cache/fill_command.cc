// SPDX-License-Identifier: Apache-2.0
// `droidspeak-bench cache fill`: storing into a real cache server, beside what the transport moves alone.
#include <iostream>
#include <memory>
#include <vector>

#include "bench/cache/bounds.h"
#include "bench/cache/command.h"
#include "bench/cache/site.h"
#include "common/base/status.h"

namespace droidspeak::bench {
namespace {

// Stores of one block, for the latencies of offers and seals.
constexpr int kSmallStores = 200;

struct Samples {
  std::vector<double> store, store_cpu, small_offer_us, small_seal_us, small_store_us;
};

absl::Status Round(CacheBounds& bounds, CacheLoad& large, CacheLoad& small, const CacheSite& site, Samples* samples) {
  RETURN_IF_ERROR(bounds.Round(samples != nullptr));
  const double cpu = site.CpuSeconds();
  ASSIGN_OR_RETURN(const StoreTimes store, large.StoreNext());
  const double cpu_used = site.CpuSeconds() - cpu;
  for (int i = 0; i < kSmallStores; ++i) {
    ASSIGN_OR_RETURN(const StoreTimes times, small.StoreNext());
    if (samples == nullptr) continue;
    samples->small_offer_us.push_back(1e6 * times.offer_seconds);
    samples->small_seal_us.push_back(1e6 * times.seal_seconds);
    samples->small_store_us.push_back(1e6 * times.seconds);
  }
  if (samples == nullptr) return absl::OkStatus();
  const double gigabytes = static_cast<double>(large.shape().total_bytes()) / 1e9;
  samples->store.push_back(gigabytes / store.seconds);
  samples->store_cpu.push_back(cpu_used / gigabytes);
  return absl::OkStatus();
}

absl::Status Measure(const CacheOptions& options, Report& report) {
  const CacheShape small_shape{options.shape.layers, 1, 4096};
  // Room for what two rounds store: while one is stored, the one before is evicted.
  ASSIGN_OR_RETURN(const auto site, CacheSite::Open(options, 2 * options.shape.total_bytes() + (256 << 20)));
  ASSIGN_OR_RETURN(const auto bounds, CacheBounds::Create(options.transport, options.shape));
  ASSIGN_OR_RETURN(const auto client, site->Connect(/*verify_checksums=*/true));
  ASSIGN_OR_RETURN(const auto large, CacheLoad::Create(*client, options.shape));
  ASSIGN_OR_RETURN(const auto small, CacheLoad::Create(*client, small_shape));
  Samples samples;
  for (int i = -1; i < options.repeats; ++i) {  // the first round warms up
    std::cerr << "cache fill: round " << i + 1 << " of " << options.repeats << "\n";
    RETURN_IF_ERROR(Round(*bounds, *large, *small, *site, i < 0 ? nullptr : &samples));
  }
  report.Result("store", "GB/s", samples.store);
  report.Result("store CPU, client and server", "s/GB", samples.store_cpu);
  report.Latency("offer of a block", "us", samples.small_offer_us);
  report.Latency("seal of a block", "us", samples.small_seal_us);
  report.Latency("store of a block of 4 KiB extents", "us", samples.small_store_us);
  bounds->Describe(report);
  report.Ratio("store/bound", Median(samples.store) / bounds->store());
  report.Target("store/bound", 0.9);
  report.Ratio("store/raw", Median(samples.store) / bounds->pull());
  report.Baseline(bounds->pulls());
  return absl::OkStatus();
}

int RunFill(const CacheOptions& options) {
  Report report("cache fill");
  Describe(options, report);
  Describe(options.shape, report);
  report.Setting("checksums", true);  // a store always has them: computed by the client, verified by the server
  const absl::Status measured = Measure(options, report);
  return Finish("fill", options, measured, report);
}

}  // namespace

Command AddCacheFillCommand(CLI::App& app) {
  CLI::App* const command = app.add_subcommand(
      "fill", "Store a data set, with checksums as every store, interleaved with the transport alone and XXH3");
  auto* const options = new CacheOptions;  // lives as long as the program
  AddCacheOptions(*command, *options);
  AddShapeOptions(*command, options->shape);
  return {command, [options] { return RunFill(*options); }};
}

}  // namespace droidspeak::bench
