// SPDX-License-Identifier: Apache-2.0
#include "common/base/metrics.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace droidspeak {
namespace {

using ::testing::HasSubstr;

TEST(Metrics, AreWrittenAsPrometheusTextWithThePrefix) {
  Metrics metrics;
  metrics.Counter("fetch_bytes_total", "Bytes sent", {{"kind", "kv"}}).Increment(7);
  metrics.Gauge("sessions", "Open sessions").Set(2);
  metrics.Histogram("fetch_duration_seconds", "Durations", {0.1, 1}).Observe(0.5);
  const std::string text = metrics.Text();
  EXPECT_THAT(text, HasSubstr("# TYPE droidspeak_fetch_bytes_total counter\n"));
  EXPECT_THAT(text, HasSubstr("droidspeak_fetch_bytes_total{kind=\"kv\"} 7"));
  EXPECT_THAT(text, HasSubstr("droidspeak_sessions 2"));
  EXPECT_THAT(text, HasSubstr("droidspeak_fetch_duration_seconds_bucket{le=\"0.1\"} 0"));
  EXPECT_THAT(text, HasSubstr("droidspeak_fetch_duration_seconds_bucket{le=\"1\"} 1"));
}

TEST(Metrics, TheSameNameAndLabelsAreTheSameMetric) {
  Metrics metrics;
  prometheus::Counter& first = metrics.Counter("a_total", "A", {{"x", "1"}});
  EXPECT_EQ(&first, &metrics.Counter("a_total", "A", {{"x", "1"}}));
  EXPECT_NE(&first, &metrics.Counter("a_total", "A", {{"x", "2"}}));
}

TEST(Metrics, GaugesAreUpdatedBeforeEachScrape) {
  Metrics metrics;
  prometheus::Gauge& gauge = metrics.Gauge("a", "A");
  int scrapes = 0;
  metrics.BeforeScrape([&] { gauge.Set(++scrapes); });
  EXPECT_THAT(metrics.Text(), HasSubstr("droidspeak_a 1"));
  EXPECT_THAT(metrics.Text(), HasSubstr("droidspeak_a 2"));
}

TEST(Metrics, DurationBucketsAscend) {
  const std::vector<double>& buckets = Metrics::DurationBuckets();
  EXPECT_TRUE(std::is_sorted(buckets.begin(), buckets.end()));
}

}  // namespace
}  // namespace droidspeak
