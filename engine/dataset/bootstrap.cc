// SPDX-License-Identifier: Apache-2.0
#include "engine/dataset/bootstrap.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>
#include <vector>

#include "absl/strings/str_cat.h"

namespace droidspeak {
namespace {

constexpr int kResamples = 10000;

// Of sorted, non-empty values.
double SortedQuantile(const std::vector<double>& sorted, double q) {
  const double position = std::clamp(q, 0.0, 1.0) * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<size_t>(position);
  const size_t above = std::min(below + 1, sorted.size() - 1);
  return std::lerp(sorted[below], sorted[above], position - static_cast<double>(below));
}

std::vector<double> Sorted(absl::Span<const double> values) {
  std::vector<double> sorted(values.begin(), values.end());
  std::sort(sorted.begin(), sorted.end());
  return sorted;
}

// A number below `count`. Not std::uniform_int_distribution, whose numbers differ between standard libraries.
size_t Draw(std::mt19937_64& random, size_t count) {
  __extension__ using Wide = unsigned __int128;
  return static_cast<size_t>(Wide{random()} * count >> 64);
}

}  // namespace

double Quantile(absl::Span<const double> values, double q) {
  return values.empty() ? 0 : SortedQuantile(Sorted(values), q);
}

Percentiles P50P95(absl::Span<const double> values) {
  if (values.empty()) return {};
  const std::vector<double> sorted = Sorted(values);
  return {SortedQuantile(sorted, 0.50), SortedQuantile(sorted, 0.95)};
}

double Mean(absl::Span<const double> values) {
  if (values.empty()) return 0;
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

absl::StatusOr<Interval> BootstrapMean(absl::Span<const double> values, uint64_t seed) {
  if (values.empty()) return absl::InvalidArgumentError("bootstrap: expected at least one value");
  std::mt19937_64 random(seed);
  std::vector<double> means(kResamples);
  for (double& mean : means) {
    double sum = 0;
    for (size_t i = 0; i < values.size(); ++i) sum += values[Draw(random, values.size())];
    mean = sum / static_cast<double>(values.size());
  }
  std::sort(means.begin(), means.end());
  return Interval{SortedQuantile(means, 0.025), SortedQuantile(means, 0.975)};
}

absl::StatusOr<Interval> BootstrapDifference(absl::Span<const double> values, absl::Span<const double> baseline,
                                             uint64_t seed) {
  if (values.size() != baseline.size()) {
    return absl::InvalidArgumentError(absl::StrCat("paired bootstrap: expected as many values as baseline values, got ",
                                                   values.size(), " and ", baseline.size()));
  }
  std::vector<double> differences(values.size());
  std::transform(values.begin(), values.end(), baseline.begin(), differences.begin(), std::minus<>());
  return BootstrapMean(differences, seed);
}

}  // namespace droidspeak
