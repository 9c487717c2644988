// SPDX-License-Identifier: Apache-2.0
#include "bench/report.h"

#include <numeric>

#include "gtest/gtest.h"

namespace droidspeak::bench {
namespace {

TEST(QuantileTest, NothingIsZero) {
  EXPECT_EQ(Quantile({}, 0.99), 0);
}

TEST(QuantileTest, OneSampleIsEveryQuantile) {
  EXPECT_EQ(Quantile({7}, 0), 7);
  EXPECT_EQ(Quantile({7}, 0.999), 7);
}

TEST(QuantileTest, OrderDoesNotMatterAndRanksBetweenSamplesAreInterpolated) {
  EXPECT_DOUBLE_EQ(Quantile({4, 1, 3, 2}, 0.5), 2.5);
  EXPECT_DOUBLE_EQ(Quantile({4, 1, 3, 2}, 1), 4);
  std::vector<double> samples(1001);
  std::iota(samples.rbegin(), samples.rend(), 0);
  EXPECT_DOUBLE_EQ(Quantile(samples, 0.99), 990);
  EXPECT_DOUBLE_EQ(Quantile(samples, 0.999), 999);
}

TEST(ReportTest, LatencyHasTailsOfAllAndSamplesOfSome) {
  std::vector<double> samples(1001);
  std::iota(samples.begin(), samples.end(), 0);
  Report report("test");
  report.Latency("get", "us", samples);
  const nlohmann::json json = report.Json();
  const nlohmann::json& get = json["results"][0];
  EXPECT_EQ(get["count"], 1001);
  EXPECT_DOUBLE_EQ(get["median"].get<double>(), 500);
  EXPECT_DOUBLE_EQ(get["p99"].get<double>(), 990);
  EXPECT_DOUBLE_EQ(get["p999"].get<double>(), 999);
  EXPECT_EQ(get["samples"].size(), 200);
  EXPECT_EQ(get["samples"].front(), 0);
  EXPECT_GT(get["samples"].back().get<double>(), 990);
}

TEST(ReportTest, FewLatenciesAreAllKept) {
  Report report("test");
  report.Latency("get", "us", {3, 1, 2});
  const nlohmann::json json = report.Json();
  EXPECT_EQ(json["results"][0]["samples"], nlohmann::json({3.0, 1.0, 2.0}));
}

TEST(ReportTest, MissedTargetIsSaidInTheTable) {
  Report report("test");
  report.Ratio("a/b", 0.5);
  report.Target("a/b", 0.9);
  EXPECT_NE(report.Table().find("MISSED"), std::string::npos);
}

}  // namespace
}  // namespace droidspeak::bench
