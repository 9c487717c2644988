// SPDX-License-Identifier: Apache-2.0
#include "engine/dataset/bootstrap.h"

#include <vector>

#include "gtest/gtest.h"

namespace droidspeak {
namespace {

TEST(Quantile, InterpolatesBetweenOrderStatistics) {
  const std::vector<double> values = {4, 1, 3, 2};
  EXPECT_DOUBLE_EQ(Quantile(values, 0), 1);
  EXPECT_DOUBLE_EQ(Quantile(values, 0.5), 2.5);
  EXPECT_DOUBLE_EQ(Quantile(values, 0.95), 3.85);
  EXPECT_DOUBLE_EQ(Quantile(values, 1), 4);
  EXPECT_DOUBLE_EQ(P50P95(values).p50, 2.5);
  EXPECT_DOUBLE_EQ(P50P95(values).p95, 3.85);
}

TEST(Quantile, OfNothingIsZero) {
  EXPECT_EQ(Quantile({}, 0.5), 0);
  EXPECT_EQ(P50P95({}).p95, 0);
  EXPECT_EQ(Mean({}), 0);
}

TEST(BootstrapMean, CoinFlipsGiveTheNormalApproximation) {
  std::vector<double> values(400);
  for (size_t i = 0; i < values.size(); ++i) values[i] = i % 2;
  const absl::StatusOr<Interval> interval = BootstrapMean(values, 1);
  ASSERT_TRUE(interval.ok());
  EXPECT_NEAR(interval->low, 0.5 - 1.96 * 0.025, 0.004);
  EXPECT_NEAR(interval->high, 0.5 + 1.96 * 0.025, 0.004);
}

TEST(BootstrapMean, SameSeedSameIntervalOtherSeedAnother) {
  const std::vector<double> values = {0.1, 0.9, 0.35, 0.77, 0.5, 0.2, 0.64};
  const Interval first = BootstrapMean(values, 7).value();
  const Interval again = BootstrapMean(values, 7).value();
  const Interval other = BootstrapMean(values, 8).value();
  EXPECT_EQ(first.low, again.low);
  EXPECT_EQ(first.high, again.high);
  EXPECT_TRUE(first.low != other.low || first.high != other.high);
}

TEST(BootstrapMean, NoValuesAreRefused) {
  EXPECT_FALSE(BootstrapMean({}, 1).ok());
}

TEST(BootstrapDifference, PairingRemovesWhatQuestionsHaveInCommon) {
  std::vector<double> baseline(100);
  for (size_t i = 0; i < baseline.size(); ++i) baseline[i] = static_cast<double>(i);
  std::vector<double> values = baseline;
  for (double& value : values) value += 0.25;
  const Interval interval = BootstrapDifference(values, baseline, 3).value();
  EXPECT_NEAR(interval.low, 0.25, 1e-9);
  EXPECT_NEAR(interval.high, 0.25, 1e-9);
}

TEST(BootstrapDifference, UnequalLengthsAreRefusedWithBoth) {
  const absl::StatusOr<Interval> interval = BootstrapDifference({1, 2, 3}, {1, 2}, 1);
  EXPECT_EQ(interval.status().message(), "paired bootstrap: expected as many values as baseline values, got 3 and 2");
}

}  // namespace
}  // namespace droidspeak
