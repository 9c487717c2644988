// SPDX-License-Identifier: Apache-2.0
// `droidspeak-bench cache coverage`: asking which blocks are there, beside an echo of as many bytes, and as the index
// grows.
#include <algorithm>
#include <iostream>
#include <map>
#include <memory>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "bench/cache/command.h"
#include "bench/cache/index_growth.h"
#include "bench/cache/site.h"
#include "bench/echo_load.h"
#include "common/base/status.h"

namespace droidspeak::bench {
namespace {

struct CoverageOptions : CacheOptions {
  int blocks = 4000;
  uint64_t growth = 10'000'000;
};

constexpr int kThreads = 2;  // so that the next question is there when one is answered
constexpr absl::Duration kThroughputTime = absl::Milliseconds(600);
constexpr int kQuestions = 300;  // of each size a round
constexpr uint32_t kHeadBytes = 32;
constexpr uint32_t kHashBytes = sizeof(Digest);
constexpr uint32_t kCoverageBytes = 64;
const std::vector<int> kQuestionBlocks = {1, 16, 128, 1024};

// What coverage may take longer than an echo, in microseconds.
double Allowance(int blocks) {
  return 3 + 0.1 * blocks;
}

struct Samples {
  std::vector<double> blocks_per_second, blocks_per_core_second;
  std::map<int, std::vector<double>> coverage_us, echo_us;
  std::map<int, std::vector<double>> coverage_p50, echo_p50;  // one a round
};

bool IsThere(const BlockCoverage& block) {
  return (block.kv[0] & 1) != 0;
}

// Asks for all blocks over and over from kThreads threads.
absl::Status Throughput(const CacheSite& site, Client& client, const CacheLoad& load, Samples* samples) {
  std::atomic<uint64_t> answered{0};
  std::atomic<bool> missed{false};
  const double cpu = site.ServerCpuSeconds();
  const absl::Time start = absl::Now();
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < kThreads; ++i) {
      threads.emplace_back([&] {
        while (absl::Now() - start < kThroughputTime && !missed) {
          const std::vector<BlockCoverage> blocks = client.Coverage(load.ns(), load.hashes());
          if (!std::all_of(blocks.begin(), blocks.end(), IsThere)) missed = true;
          answered += blocks.size();
        }
      });
    }
  }
  const double seconds = absl::ToDoubleSeconds(absl::Now() - start);
  const double cpu_seconds = site.ServerCpuSeconds() - cpu;
  if (missed) return absl::DataLossError("a block that was stored is not covered");
  if (samples == nullptr) return absl::OkStatus();
  samples->blocks_per_second.push_back(static_cast<double>(answered) / seconds / 1e6);
  if (cpu_seconds > 0) {
    samples->blocks_per_core_second.push_back(static_cast<double>(answered) / cpu_seconds / 1e6);
  }
  return absl::OkStatus();
}

// One question at a time, each followed by an echo of its size.
absl::Status Latency(Client& client, EchoLoad& echo, const CacheLoad& load, int blocks, Samples* samples) {
  const absl::Span<const Digest> hashes = absl::MakeSpan(load.hashes()).subspan(0, blocks);
  std::vector<double> coverage_us;
  std::vector<double> echo_us;
  for (int i = 0; i < kQuestions; ++i) {
    const absl::Time start = absl::Now();
    const std::vector<BlockCoverage> answer = client.Coverage(load.ns(), hashes);
    coverage_us.push_back(absl::ToDoubleMicroseconds(absl::Now() - start));
    if (!IsThere(answer.back())) return absl::DataLossError("a block that was stored is not covered");
    ASSIGN_OR_RETURN(const double seconds,
                     echo.Ask(kHeadBytes + kHashBytes * blocks, kHeadBytes + kCoverageBytes * blocks));
    echo_us.push_back(1e6 * seconds);
  }
  if (samples == nullptr) return absl::OkStatus();
  samples->coverage_p50[blocks].push_back(Median(coverage_us));
  samples->echo_p50[blocks].push_back(Median(echo_us));
  auto& all_coverage = samples->coverage_us[blocks];
  auto& all_echo = samples->echo_us[blocks];
  all_coverage.insert(all_coverage.end(), coverage_us.begin(), coverage_us.end());
  all_echo.insert(all_echo.end(), echo_us.begin(), echo_us.end());
  return absl::OkStatus();
}

absl::Status MeasureServer(const CoverageOptions& options, Samples& samples) {
  const CacheShape shape{1, options.blocks, 4096};
  ASSIGN_OR_RETURN(const auto site, CacheSite::Open(options, 256 << 20));
  ASSIGN_OR_RETURN(const auto client, site->Connect(/*verify_checksums=*/true));
  ASSIGN_OR_RETURN(const auto load, CacheLoad::Create(*client, shape));
  ASSIGN_OR_RETURN(const auto echo, EchoLoad::Create(options.transport));
  RETURN_IF_ERROR(load->StoreNext().status());
  for (int i = -1; i < options.repeats; ++i) {  // the first round warms up
    std::cerr << "cache coverage: round " << i + 1 << " of " << options.repeats << "\n";
    Samples* const kept = i < 0 ? nullptr : &samples;
    RETURN_IF_ERROR(Throughput(*site, *client, *load, kept));
    for (const int blocks : kQuestionBlocks) {
      if (blocks <= options.blocks) RETURN_IF_ERROR(Latency(*client, *echo, *load, blocks, kept));
    }
  }
  return absl::OkStatus();
}

void ReportServer(const Samples& samples, Report& report) {
  report.Result("coverage", "M blocks/s", samples.blocks_per_second);
  if (!samples.blocks_per_core_second.empty()) {
    report.Result("coverage, a core of the server", "M blocks/s", samples.blocks_per_core_second);
    report.Ratio("blocks a second a core/2 M", Median(samples.blocks_per_core_second) / 2);
    report.Target("blocks a second a core/2 M", 1);
  }
  for (const auto& [blocks, times] : samples.coverage_us) {
    report.Latency(absl::StrCat("coverage of ", blocks), "us", times);
    report.Latency(absl::StrCat("echo of the size for ", blocks), "us", samples.echo_us.at(blocks));
    const std::string ratio = absl::StrCat("(echo + 3 us + 0.1 us a block)/coverage, ", blocks);
    report.Ratio(ratio, (Median(samples.echo_us.at(blocks)) + Allowance(blocks)) / Median(times));
    report.Target(ratio, 1);
  }
  // The smallest echo varies most: it is what the others are compared with.
  report.Baseline(samples.echo_p50.begin()->second);
}

std::string Count(uint64_t blocks) {
  if (blocks >= 1'000'000) return absl::StrCat(blocks / 1'000'000, " M");
  return absl::StrCat(blocks / 1000, " k");
}

// What performance.md grants an entry: 256 bytes, and 16 for the one extent that each block has here.
constexpr double kEntryBytes = 256 + 16;
constexpr uint64_t kSmallIndex = 100'000;

void MeasureGrowth(const CoverageOptions& options, Report& report) {
  std::vector<uint64_t> sizes;
  for (uint64_t size = 1000; size < options.growth; size *= 10) sizes.push_back(size);
  sizes.push_back(options.growth);
  std::cerr << "cache coverage: the index by itself, up to " << options.growth << " blocks\n";
  const std::vector<IndexCosts> all = MeasureIndex(sizes, options.repeats);
  double small_ns = 0;
  for (const IndexCosts& costs : all) {
    if (costs.blocks == kSmallIndex) small_ns = Median(costs.lookup_ns);
    report.Result(absl::StrCat("index of ", Count(costs.blocks), ": look-up"), "ns", costs.lookup_ns);
    report.Result(absl::StrCat("index of ", Count(costs.blocks), ": insertion"), "ns", {costs.insert_ns});
  }
  const IndexCosts& largest = all.back();
  report.Result(absl::StrCat("index of ", Count(largest.blocks), ": resident"), "bytes/block",
                {largest.resident_bytes});
  report.Result(absl::StrCat("index of ", Count(largest.blocks), ": counted"), "bytes/block", {largest.counted_bytes});
  report.Ratio("272 bytes/resident a block", kEntryBytes / largest.resident_bytes);
  report.Target("272 bytes/resident a block", 1);
  if (small_ns == 0 || largest.blocks == kSmallIndex) return;
  const std::string ratio = absl::StrCat("1.5 x look-up at 100 k/at ", Count(largest.blocks));
  report.Ratio(ratio, 1.5 * small_ns / Median(largest.lookup_ns));
  report.Target(ratio, 1);
}

int RunCoverage(const CoverageOptions& options) {
  Report report("cache coverage");
  Describe(options, report);
  report.Setting("blocks", options.blocks);
  report.Setting("threads", kThreads);
  Samples samples;
  const absl::Status measured = MeasureServer(options, samples);
  if (measured.ok()) {
    ReportServer(samples, report);
    if (options.growth > 0) MeasureGrowth(options, report);
  }
  return Finish("coverage", options, measured, report);
}

}  // namespace

Command AddCacheCoverageCommand(CLI::App& app) {
  CLI::App* const command = app.add_subcommand(
      "coverage", "Ask which blocks are there, interleaved with an echo, and of an index of up to 10 M blocks");
  auto* const options = new CoverageOptions;  // lives as long as the program
  AddCacheOptions(*command, *options);
  command->add_option("--blocks", options->blocks, "Blocks stored and asked for at once")->check(CLI::Range(1, 4000));
  command->add_option("--growth", options->growth, "Blocks of the largest index (2.8 GB of memory for 10 M); 0: none")
      ->check(CLI::Range(0, 100'000'000));
  return {command, [options] { return RunCoverage(*options); }};
}

}  // namespace droidspeak::bench
