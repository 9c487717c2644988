// SPDX-License-Identifier: Apache-2.0
// Percentiles, and how far a mean may be trusted.
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace droidspeak {

struct Interval {
  double low = 0;
  double high = 0;
};

// The `q`-quantile (0 <= q <= 1) by linear interpolation between order statistics; 0 for no values.
double Quantile(absl::Span<const double> values, double q);

struct Percentiles {
  double p50 = 0;
  double p95 = 0;
};
Percentiles P50P95(absl::Span<const double> values);

double Mean(absl::Span<const double> values);  // 0 for no values

// 95 % percentile bootstrap interval of the mean, from 10,000 resamples; the same for the same seed everywhere.
// InvalidArgument for no values.
[[nodiscard]] absl::StatusOr<Interval> BootstrapMean(absl::Span<const double> values, uint64_t seed);

// The same for mean(values) - mean(baseline), paired: element i of both belongs to the same question.
// InvalidArgument unless both have the same, positive, length.
[[nodiscard]] absl::StatusOr<Interval> BootstrapDifference(absl::Span<const double> values,
                                                           absl::Span<const double> baseline, uint64_t seed);

}  // namespace droidspeak
