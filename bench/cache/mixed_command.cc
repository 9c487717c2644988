// SPDX-License-Identifier: Apache-2.0
// `droidspeak-bench cache mixed`: readers and writers at the same time, and what clients do to each other.
#include <cmath>
#include <iostream>
#include <memory>
#include <random>
#include <thread>
#include <vector>

#include "absl/time/clock.h"
#include "bench/cache/command.h"
#include "bench/cache/fairness.h"
#include "bench/cache/site.h"
#include "common/base/status.h"

namespace droidspeak::bench {
namespace {

struct MixedOptions : CacheOptions {
  int readers = 2;
  int writers = 1;
  uint32_t contexts = 64;
  double zipf = 0.9;
  absl::Duration duration = absl::Seconds(2);
  bool fairness = true;
};

// Of one thread and round, or of all.
struct Figures {
  std::vector<double> fetch_ms, first_layer_ms, store_ms;
  uint64_t misses = 0;

  void Add(const Figures& other) {
    fetch_ms.insert(fetch_ms.end(), other.fetch_ms.begin(), other.fetch_ms.end());
    first_layer_ms.insert(first_layer_ms.end(), other.first_layer_ms.begin(), other.first_layer_ms.end());
    store_ms.insert(store_ms.end(), other.store_ms.begin(), other.store_ms.end());
    misses += other.misses;
  }
};

// A client of its own and the thread's memory.
struct Worker {
  std::unique_ptr<Client> client;
  std::unique_ptr<CacheLoad> load;
  std::mt19937_64 random;
  Figures figures;
  absl::Status status;
};

absl::Status StoreOne(CacheLoad& load, bool next, Figures& figures) {
  ASSIGN_OR_RETURN(const StoreTimes times, next ? load.StoreNext() : load.Store());
  figures.store_ms.push_back(1e3 * times.seconds);
  return absl::OkStatus();
}

// Fetches contexts by popularity; computes, that is, stores those that are not there.
absl::Status Read(const MixedOptions& options, Worker& worker, absl::Time end) {
  std::vector<double> weights;
  for (uint32_t i = 1; i <= options.contexts; ++i) weights.push_back(std::pow(i, -options.zipf));
  std::discrete_distribution<uint32_t> popularity(weights.begin(), weights.end());
  while (absl::Now() < end) {
    worker.load->Choose(popularity(worker.random));
    const absl::StatusOr<FetchTimes> times = worker.load->Fetch();
    if (times.ok()) {
      worker.figures.fetch_ms.push_back(1e3 * times->seconds);
      worker.figures.first_layer_ms.push_back(1e3 * times->first_layer_seconds);
    } else if (absl::IsDataLoss(times.status())) {
      ++worker.figures.misses;
      RETURN_IF_ERROR(StoreOne(*worker.load, /*next=*/false, worker.figures));
    } else {
      return times.status();
    }
  }
  return absl::OkStatus();
}

absl::Status Write(Worker& worker, absl::Time end) {
  while (absl::Now() < end) RETURN_IF_ERROR(StoreOne(*worker.load, /*next=*/true, worker.figures));
  return absl::OkStatus();
}

absl::StatusOr<std::vector<Worker>> MakeWorkers(const MixedOptions& options, const CacheSite& site) {
  const uint32_t family = CacheLoad::NewFamily();
  std::vector<Worker> workers(options.readers + options.writers);
  for (size_t i = 0; i < workers.size(); ++i) {
    const bool reader = i < static_cast<size_t>(options.readers);
    ASSIGN_OR_RETURN(workers[i].client, site.Connect(!options.no_checksum));
    ASSIGN_OR_RETURN(workers[i].load,
                     CacheLoad::Create(*workers[i].client, options.shape, reader ? family : CacheLoad::NewFamily()));
    workers[i].random.seed(i);
  }
  return workers;
}

// One round of all threads at once.
absl::StatusOr<Figures> Round(const MixedOptions& options, std::vector<Worker>& workers) {
  const absl::Time end = absl::Now() + options.duration;
  {
    std::vector<std::jthread> threads;
    for (size_t i = 0; i < workers.size(); ++i) {
      const bool reader = i < static_cast<size_t>(options.readers);
      threads.emplace_back([&options, &worker = workers[i], reader, end] {
        worker.figures = {};
        worker.status = reader ? Read(options, worker, end) : Write(worker, end);
      });
    }
  }
  Figures all;
  for (const Worker& worker : workers) {
    RETURN_IF_ERROR(worker.status);
    all.Add(worker.figures);
  }
  return all;
}

absl::Status MeasureMix(const MixedOptions& options, const CacheSite& site, Report& report) {
  ASSIGN_OR_RETURN(std::vector<Worker> workers, MakeWorkers(options, site));
  const double gigabytes = static_cast<double>(options.shape.total_bytes()) / 1e9;
  std::vector<double> fetch_gbs;
  std::vector<double> store_gbs;
  std::vector<double> hit_share;
  std::vector<double> cpu;
  Figures all;
  for (int i = -1; i < options.repeats; ++i) {  // the first round fills the pool
    std::cerr << "cache mixed: round " << i + 1 << " of " << options.repeats << "\n";
    const double cpu_before = site.CpuSeconds();
    const absl::Time start = absl::Now();
    ASSIGN_OR_RETURN(const Figures figures, Round(options, workers));
    const double seconds = absl::ToDoubleSeconds(absl::Now() - start);
    if (i < 0) continue;
    const auto fetches = static_cast<double>(figures.fetch_ms.size());
    const auto stores = static_cast<double>(figures.store_ms.size());
    fetch_gbs.push_back(fetches * gigabytes / seconds);
    store_gbs.push_back(stores * gigabytes / seconds);
    cpu.push_back((site.CpuSeconds() - cpu_before) / ((fetches + stores) * gigabytes));
    hit_share.push_back(100 * fetches / (fetches + static_cast<double>(figures.misses)));
    all.Add(figures);
  }
  report.Result("fetched", "GB/s", fetch_gbs);
  report.Result("stored", "GB/s", store_gbs);
  report.Result("CPU, clients and server", "s/GB", cpu);
  report.Result("contexts found", "%", hit_share);
  report.Latency("fetch of a context", "ms", all.fetch_ms);
  report.Latency("time to layer 0", "ms", all.first_layer_ms);
  report.Latency("store of a context", "ms", all.store_ms);
  return absl::OkStatus();
}

absl::Status Measure(const MixedOptions& options, Report& report) {
  // Fairness needs room for all that its clients keep under way; the mix does not find all contexts there.
  const uint64_t pool = std::max(options.contexts * options.shape.total_bytes() * 5 / 8, uint64_t{1} << 30);
  ASSIGN_OR_RETURN(const auto site, CacheSite::Open(options, pool));
  RETURN_IF_ERROR(MeasureMix(options, *site, report));
  return options.fairness ? MeasureFairness(*site, options, report) : absl::OkStatus();
}

int RunMixed(const MixedOptions& options) {
  Report report("cache mixed");
  Describe(options, report);
  Describe(options.shape, report);
  report.Setting("checksums", !options.no_checksum);
  report.Setting("readers", options.readers);
  report.Setting("writers", options.writers);
  report.Setting("contexts", options.contexts);
  report.Setting("zipf", options.zipf);
  const absl::Status measured = Measure(options, report);
  return Finish("mixed", options, measured, report);
}

}  // namespace

Command AddCacheMixedCommand(CLI::App& app) {
  CLI::App* const command = app.add_subcommand(
      "mixed", "Readers of contexts by popularity beside writers; then one client's first tokens beside others' load");
  auto* const options = new MixedOptions;  // lives as long as the program
  options->shape = {16, 8, 256 << 10};
  AddCacheOptions(*command, *options);
  AddShapeOptions(*command, options->shape);
  command->add_option("--readers", options->readers, "Clients that fetch")->check(CLI::Range(1, 64));
  command->add_option("--writers", options->writers, "Clients that store")->check(CLI::Range(0, 64));
  command->add_option("--contexts", options->contexts, "Different ones that readers ask for")
      ->check(CLI::Range(1, 100'000));
  command->add_option("--zipf", options->zipf, "Exponent of their popularity")->check(CLI::Range(0.0, 4.0));
  AddDurationOption(*command, "--duration", options->duration, "Of a round");
  command->add_flag("--no-checksum", options->no_checksum, "Do not verify what arrives");
  command->add_flag("!--no-fairness", options->fairness, "Leave the second part out");
  return {command, [options] { return RunMixed(*options); }};
}

}  // namespace droidspeak::bench
