// SPDX-License-Identifier: Apache-2.0
#include "tests/soak/watch.h"

#include <gtest/gtest.h>

#include <vector>

namespace droidspeak::soak {
namespace {

constexpr double kFactor = 1.5;
constexpr double kMilliseconds = 5;

std::vector<Window> WithP99(const std::vector<double>& milliseconds) {
  std::vector<Window> windows;
  for (const double p99 : milliseconds) {
    windows.push_back({.resident_mib = 280, .descriptors = 57, .threads = 32, .p50_ms = 8, .p99_ms = p99});
  }
  return windows;
}

TEST(SoakWatchTest, WhatStaysIsSteady) {
  EXPECT_TRUE(Report(WithP99(std::vector<double>(12, 100)), kFactor, kMilliseconds));
}

TEST(SoakWatchTest, BurstsAreNoGrowth) {
  // Half an hour of a server whose disk compacts now and then: the last third's median is 1.6 of the first's.
  EXPECT_TRUE(Report(WithP99({626, 149, 66, 93, 140, 370, 286, 177, 177, 258, 242, 185}), kFactor, kMilliseconds));
}

TEST(SoakWatchTest, LatenciesThatPileUpAreGrowth) {
  std::vector<double> rising;
  constexpr double kUpAndDown[] = {1.0, 0.6, 1.9, 1.2, 0.8};
  for (int i = 0; i < 30; ++i) rising.push_back((60 + 6 * i) * kUpAndDown[i % 5]);
  EXPECT_FALSE(Report(WithP99(rising), kFactor, kMilliseconds));
}

TEST(SoakWatchTest, MemoryNeedsNoTrend) {
  std::vector<Window> windows = WithP99(std::vector<double>(12, 100));
  for (size_t i = 8; i < windows.size(); ++i) windows[i].resident_mib = 330;
  EXPECT_FALSE(Report(windows, kFactor, kMilliseconds));
}

TEST(SoakWatchTest, AThreadMoreIsGrowth) {
  std::vector<Window> windows = WithP99(std::vector<double>(12, 100));
  for (size_t i = 8; i < windows.size(); ++i) windows[i].threads = 33;
  EXPECT_FALSE(Report(windows, kFactor, kMilliseconds));
}

}  // namespace
}  // namespace droidspeak::soak
