// SPDX-License-Identifier: Apache-2.0
#include "bench/report.h"

#include <algorithm>
#include <cmath>
#include <iostream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/base/machine.h"

namespace droidspeak::bench {

Report::Report(std::string bench) : bench_(std::move(bench)), versions_(BuildVersions()) {}

void Report::Result(const std::string& name, const std::string& unit, const std::vector<double>& samples) {
  results_.push_back({{"name", name},
                      {"unit", unit},
                      {"median", Median(samples)},
                      {"p25", Quantile(samples, 0.25)},
                      {"p75", Quantile(samples, 0.75)},
                      {"samples", samples}});
}

void Report::Latency(const std::string& name, const std::string& unit, const std::vector<double>& samples) {
  std::vector<double> some;
  for (size_t i = 0; i < std::min(samples.size(), kSamples); ++i) {
    some.push_back(samples[i * samples.size() / std::min(samples.size(), kSamples)]);
  }
  results_.push_back({{"name", name},
                      {"unit", unit},
                      {"median", Median(samples)},
                      {"p25", Quantile(samples, 0.25)},
                      {"p75", Quantile(samples, 0.75)},
                      {"p50", Median(samples)},
                      {"p99", Quantile(samples, 0.99)},
                      {"p999", Quantile(samples, 0.999)},
                      {"count", samples.size()},
                      {"samples", some}});
}

void Report::Baseline(const std::vector<double>& samples) {
  const double spread = (Quantile(samples, 0.75) - Quantile(samples, 0.25)) / Median(samples);
  const double before = settings_.value("baseline_interquartile_share", 0.0);
  Setting("baseline_interquartile_share", std::max(before, spread));
  if (spread > 0.1) std::cerr << bench_ << ": the baseline varies by more than 10 %: this run is not valid\n";
}

nlohmann::json Report::Json() const {
  return {{"bench", bench_},       {"machine", MachineDescription()},
          {"versions", versions_}, {"date", DateNow()},
          {"settings", settings_}, {"results", results_},
          {"ratios", ratios_},     {"targets", targets_}};
}

std::string Report::Table() const {
  std::string table = absl::StrCat(bench_, " on ", MachineDescription(), ", ", DateNow(), "\n");
  for (const auto& result : results_) {
    absl::StrAppendFormat(&table, "  %-44s %10.3f %-10s (p25 %.3f, p75 %.3f", result["name"].get<std::string>(),
                          result["median"].get<double>(), result["unit"].get<std::string>(),
                          result["p25"].get<double>(), result["p75"].get<double>());
    if (result.contains("p99")) {
      absl::StrAppendFormat(&table, ", p99 %.3f, p999 %.3f of %d", result["p99"].get<double>(),
                            result["p999"].get<double>(), result["count"].get<int64_t>());
    }
    table += ")\n";
  }
  for (const auto& [name, value] : ratios_.items()) {
    absl::StrAppendFormat(&table, "  %-44s %10.3f", name, value.get<double>());
    if (targets_.contains(name)) {
      const double target = targets_[name].get<double>();
      absl::StrAppendFormat(&table, " of >= %.2f %s", target, value.get<double>() >= target ? "met" : "MISSED");
    }
    table += "\n";
  }
  return table;
}

void Report::Print(bool json) const {
  std::cout << (json ? Json().dump() + "\n" : Table()) << std::flush;
}

double Quantile(std::vector<double> samples, double share) {
  if (samples.empty()) return 0;
  std::sort(samples.begin(), samples.end());
  const double rank = share * static_cast<double>(samples.size() - 1);
  const size_t below = static_cast<size_t>(std::floor(rank));
  const size_t above = std::min(below + 1, samples.size() - 1);
  return samples[below] + (rank - static_cast<double>(below)) * (samples[above] - samples[below]);
}

}  // namespace droidspeak::bench
