// SPDX-License-Identifier: Apache-2.0
// Positions beyond the first of the tables that are made one by one; frequencies are the goldens' (golden_test.cc).
#include "engine/model/rope.h"

#include <gtest/gtest.h>

#include <cmath>
#include <thread>
#include <vector>

namespace droidspeak {
namespace {

constexpr int64_t kHeadDim = 8;
constexpr int64_t kPositions = 2 * Rope::kTablePositions + 100;

RopeConfig Config() {
  return {.rotated_dims = 6};
}

// Unit vectors of each pair's first dimension become its cosine and sine; dimensions 6 and 7 pass.
void ExpectRotated(const Rope& rope, int64_t position) {
  const std::vector<float> from = {1, 1, 1, 0, 0, 0, 7, 8};
  std::vector<float> to(kHeadDim);
  rope.RotateHead(Dtype::kFp32, from.data(), to.data(), position);
  for (int pair = 0; pair < 3; ++pair) {
    // In fp32 as the tables: the angle of a late position has few digits behind its point.
    const float angle = static_cast<float>(position) * static_cast<float>(1 / std::pow(1e4, pair / 3.0));
    EXPECT_NEAR(to[pair], std::cos(angle), 2e-3) << pair << " at " << position;
    EXPECT_NEAR(to[pair + 3], std::sin(angle), 2e-3) << pair << " at " << position;
  }
  EXPECT_EQ(to[6], 7);
  EXPECT_EQ(to[7], 8);
}

TEST(RopeTest, TablesJoin) {
  const Rope rope(Config(), kHeadDim, kPositions, 1);
  for (const int64_t end : {Rope::kTablePositions, 2 * Rope::kTablePositions, kPositions}) {
    for (const int64_t position : {end - 2, end - 1, end, end + 1}) {
      if (position < kPositions) ExpectRotated(rope, position);
    }
  }
}

TEST(RopeTest, RowsInOneCallEqualEachAlone) {
  const Rope rope(Config(), kHeadDim, kPositions, 1);
  constexpr int64_t kFirst = Rope::kTablePositions - 3, kRows = 6;
  std::vector<float> from(kRows * kHeadDim), together(from.size()), alone(kHeadDim);
  for (size_t i = 0; i < from.size(); ++i) from[i] = static_cast<float>(i % 13);
  rope.Rotate(Dtype::kFp32, from.data(), kHeadDim, together.data(), kHeadDim, kRows, kFirst);
  for (int64_t row = 0; row < kRows; ++row) {
    rope.RotateHead(Dtype::kFp32, &from[row * kHeadDim], alone.data(), kFirst + row);
    EXPECT_EQ(std::vector<float>(&together[row * kHeadDim], &together[(row + 1) * kHeadDim]), alone) << row;
  }
}

TEST(RopeTest, ThreadsMayAskForTheSameTable) {
  const Rope rope(Config(), kHeadDim, kPositions, 1);
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&rope] { ExpectRotated(rope, Rope::kTablePositions + 5); });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace droidspeak
