// SPDX-License-Identifier: Apache-2.0
// droidspeak-bench simulate: eviction policies on made-up traces, by the computing time that they save.
#include <algorithm>
#include <iostream>
#include <map>

#include "absl/strings/str_cat.h"
#include "bench/command.h"
#include "bench/report.h"
#include "bench/simulate/cache.h"
#include "bench/simulate/trace.h"
#include "common/base/config.h"
#include "common/base/status.h"

namespace droidspeak::bench {
namespace {

const std::vector<std::string> kTraces = {"zipf", "agents", "scan", "handoff", "loop"};
const std::vector<std::string> kPolicies = {"lru", "s3-fifo", "gdsf", "ours"};

struct SimulateOptions {
  std::vector<std::string> traces = kTraces;
  double capacity = 0.1;  // of all the trace's blocks
  uint32_t requests = 20'000;
  int repeats = 5;      // seeds
  uint64_t seed = 100;  // the policy's constants were chosen on seed 1
  bool json = false;
};

// What the cache had of all that was asked for, in percent, but for the first fifth of the requests, which fill it: of
// the computing time when it stands alone, of the bytes when there is a disk below.
absl::StatusOr<double> Share(const Trace& trace, const std::string& policy, uint64_t capacity, Below below) {
  ASSIGN_OR_RETURN(const std::unique_ptr<SimulatedCache> cache, MakeCache(policy, trace, capacity, below));
  SimulatedCache::Found found;
  SimulatedCache::Found all;
  for (uint32_t i = 0; i < trace.requests.size(); ++i) {
    const SimulatedCache::Found part = cache->Serve(i);
    if (i < trace.requests.size() / 5) continue;
    found.seconds += part.seconds;
    found.bytes += part.bytes;
    for (const uint32_t block : trace.requests[i]) {
      all.seconds += trace.blocks[block].seconds;
      all.bytes += trace.blocks[block].bytes;
    }
  }
  return 100 * (below == Below::kDisk ? found.bytes / all.bytes : found.seconds / all.seconds);
}

absl::Status Compare(const SimulateOptions& options, const std::string& name, Below below, Report& report) {
  std::map<std::string, std::vector<double>> shares;
  for (int i = 0; i < options.repeats; ++i) {
    ASSIGN_OR_RETURN(const Trace trace, MakeTrace(name, options.seed + i, options.requests));
    const auto capacity = static_cast<uint64_t>(options.capacity * static_cast<double>(trace.bytes()));
    if (capacity < trace.longest_request_bytes()) {
      return absl::InvalidArgumentError(
          absl::StrCat("--capacity ", options.capacity, ": the longest request of trace ", name, " does not fit"));
    }
    for (const std::string& policy : kPolicies) {
      ASSIGN_OR_RETURN(const double share, Share(trace, policy, capacity, below));
      shares[policy].push_back(share);
    }
    std::cerr << "simulate: " << name << ", " << i + 1 << " of " << options.repeats << "\n";
  }
  const std::string what = below == Below::kDisk ? absl::StrCat(name, " above disk") : name;
  double best = 0;
  for (const std::string& policy : kPolicies) {
    report.Result(absl::StrCat(what, ": ", policy),
                  below == Below::kDisk ? "% of bytes from memory" : "% of time saved", shares[policy]);
    if (policy != "ours") best = std::max(best, Median(shares[policy]));
  }
  if (best == 0) return absl::OkStatus();  // a loop over more than fits: what is gone is forgotten
  const std::string ratio = absl::StrCat("ours/best other, ", what);
  report.Ratio(ratio, Median(shares["ours"]) / best);
  report.Target(ratio, 0.98);
  return absl::OkStatus();
}

absl::Status Measure(const SimulateOptions& options, Report& report) {
  for (const std::string& name : options.traces) {
    RETURN_IF_ERROR(Compare(options, name, Below::kNothing, report));
    RETURN_IF_ERROR(Compare(options, name, Below::kDisk, report));
  }
  return absl::OkStatus();
}

int RunSimulate(const SimulateOptions& options) {
  Report report("simulate");
  report.Setting("capacity_share", options.capacity);
  report.Setting("requests", options.requests);
  report.Setting("seed", options.seed);
  report.Setting("repeats", options.repeats);
  if (const absl::Status measured = Measure(options, report); !measured.ok()) {
    std::cerr << "simulate: " << measured.message() << "\n";
    return kExitFailed;
  }
  report.Print(options.json);
  return kExitOk;
}

}  // namespace

Command AddSimulateCommand(CLI::App& app) {
  CLI::App* const command = app.add_subcommand(
      "simulate", "Replay traces on eviction policies (LRU, S3-FIFO, GDSF, the server's): computing time saved");
  auto* const options = new SimulateOptions;  // lives as long as the program
  command->add_option("--trace", options->traces, "zipf, agents, scan, handoff, loop (default: all)")
      ->check(CLI::IsMember(kTraces));
  command->add_option("--capacity", options->capacity, "The cache, as a share of all blocks")
      ->check(CLI::Range(0.001, 1.0));
  command->add_option("--requests", options->requests, "Requests a trace")->check(CLI::Range(100, 10'000'000));
  command->add_option("--repeats", options->repeats, "Traces of each kind, by seed")->check(CLI::Range(1, 1000));
  command->add_option("--seed", options->seed, "The first seed");
  command->add_flag("--json", options->json, "One JSON object");
  return {command, [options] { return RunSimulate(*options); }};
}

}  // namespace droidspeak::bench
