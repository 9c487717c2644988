// SPDX-License-Identifier: Apache-2.0
#include "bench/cache/fairness.h"

#include <array>
#include <iostream>
#include <optional>
#include <random>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "bench/cache/contender.h"
#include "common/base/status.h"

namespace droidspeak::bench {
namespace {

const CacheShape kShape{4, 64, 64 << 10};
// A round's requests, or what can be done in its time, but never fewer than the least that a 99th percentile needs.
constexpr size_t kRequests = 500;
constexpr size_t kLeastRequests = 100;
constexpr absl::Duration kRoundTime = absl::Seconds(2);

struct Phase {
  const char* name;
  std::optional<Contender::Kind> beside;
  std::vector<double> us, p50, p99;  // all of them, and of each round
  std::vector<double> server_share;  // of a core that the server used, in percent
};

absl::Status Run(const CacheSite& site, const CacheOptions& options, CacheLoad& load, Phase& phase, bool keep) {
  std::unique_ptr<Contender> contender;
  if (phase.beside.has_value()) {
    ASSIGN_OR_RETURN(contender, Contender::Start(site, options, *phase.beside));
  }
  std::mt19937 random(1);
  std::vector<double> us;
  size_t misses = 0;
  const double cpu = site.ServerCpuSeconds();
  const absl::Time start = absl::Now();
  while (us.size() < kLeastRequests || (us.size() < kRequests && absl::Now() < start + kRoundTime)) {
    const absl::StatusOr<double> seconds = load.FetchBlock(static_cast<int>(random() % kShape.blocks));
    if (seconds.ok()) {
      us.push_back(1e6 * *seconds);
    } else if (absl::IsDataLoss(seconds.status()) && ++misses <= kRequests) {
      RETURN_IF_ERROR(load.Store().status());  // at first, and when others' stores evicted it
    } else {
      return seconds.status();
    }
  }
  if (!keep) return absl::OkStatus();
  phase.server_share.push_back(100 * (site.ServerCpuSeconds() - cpu) / absl::ToDoubleSeconds(absl::Now() - start));
  phase.p50.push_back(Median(us));
  phase.p99.push_back(Quantile(us, 0.99));
  phase.us.insert(phase.us.end(), us.begin(), us.end());
  return absl::OkStatus();
}

}  // namespace

absl::Status MeasureFairness(const CacheSite& site, const CacheOptions& options, Report& report) {
  ASSIGN_OR_RETURN(const auto client, site.Connect(!options.no_checksum));
  ASSIGN_OR_RETURN(const auto load, CacheLoad::Create(*client, kShape));
  std::array<Phase, 3> phases = {{{"alone", std::nullopt, {}, {}, {}, {}},
                                  {"beside a greedy client", Contender::Kind::kGreedy, {}, {}, {}, {}},
                                  {"beside a slow client", Contender::Kind::kSlow, {}, {}, {}, {}}}};
  for (int i = -1; i < options.repeats; ++i) {  // the first round warms up
    std::cerr << "cache mixed: fairness, round " << i + 1 << " of " << options.repeats << "\n";
    for (Phase& phase : phases) RETURN_IF_ERROR(Run(site, options, *load, phase, i >= 0));
  }
  for (const Phase& phase : phases) {
    report.Latency(absl::StrCat("first token, 256 KiB, ", phase.name), "us", phase.us);
    report.Result(absl::StrCat("p99 of it, ", phase.name), "us", phase.p99);
    if (site.own())
      report.Result(absl::StrCat("server's processor time, ", phase.name), "% of a core", phase.server_share);
    if (!phase.beside.has_value()) continue;
    const std::string ratio = absl::StrCat("2 x p99 alone/", phase.name);
    report.Ratio(ratio, 2 * Median(phases.front().p99) / Median(phase.p99));
    report.Target(ratio, 1);
  }
  report.Baseline(phases.front().p50);
  return absl::OkStatus();
}

}  // namespace droidspeak::bench
