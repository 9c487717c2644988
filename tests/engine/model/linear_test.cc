// SPDX-License-Identifier: Apache-2.0
#include "engine/model/linear.h"

#include <ATen/ops/linear.h>
#include <ATen/ops/randn.h>
#include <gtest/gtest.h>

#include <limits>
#include <optional>
#include <utility>
#include <vector>

#include "engine/model/packed_block.h"
#include "tests/engine/model/fixture.h"

namespace droidspeak {
namespace {

// The product in fp32, rounded once.
at::Tensor Expected(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  const at::Tensor added = bias.defined() ? bias.to(at::kFloat) : at::Tensor();
  return at::linear(x.to(at::kFloat), weight.to(at::kFloat), added.defined() ? std::optional(added) : std::nullopt);
}

// A result of bf16 is off by half of its last place.
double Tolerance(const at::Tensor& expected, at::ScalarType type) {
  return type == at::kFloat ? 1e-4 : 0.005 * expected.abs().max().item<double>();
}

// Widths that are and are not multiples of what a block or a vector holds; row counts on both sides of where the way or
// the tile changes.
TEST(LinearTest, EachNumberOfRowsGivesTheProduct) {
  for (const at::ScalarType type : {at::kBFloat16, at::kFloat}) {
    for (const int64_t in : {1, 2, 16, 31, 34, 1024}) {
      for (const int64_t out : {1, 16, 37, 64, 200}) {
        const at::Tensor plain = at::randn({out, in}).to(type), bias = at::randn({out}).to(type);
        const Weight weight(plain);
        EXPECT_EQ(weight.is_packed(), type == at::kBFloat16 && in % 2 == 0);
        for (const int64_t rows : {1, 2, 3, 4, 5, 8, 63, 64, 65, 128, 130}) {
          const at::Tensor x = at::randn({rows, in}).to(type);
          for (const at::Tensor& added : {at::Tensor(), bias}) {
            const at::Tensor expected = Expected(x, plain, added), result = Linear(x, weight, added);
            ASSERT_EQ(result.scalar_type(), type);
            EXPECT_LE(MaxDifference(result, expected), Tolerance(expected, type))
                << rows << " rows, " << in << " to " << out;
          }
        }
      }
    }
  }
}

// Groups of blocks that turn about tiles of rows: with more of both than one thread's share.
TEST(LinearTest, ManyBlocksAndTiles) {
  const at::Tensor plain = at::randn({1500, 2048}).to(at::kBFloat16), x = at::randn({300, 2048}).to(at::kBFloat16);
  const at::Tensor expected = Expected(x, plain, {});
  EXPECT_LE(MaxDifference(Linear(x, Weight(plain), {}), expected), Tolerance(expected, at::kBFloat16));
}

TEST(LinearTest, PartOfAWeightAndRowsApart) {
  const at::Tensor plain = at::randn({200, 64}).to(at::kBFloat16), bias = at::randn({200}).to(at::kBFloat16);
  const Weight weight(plain);
  for (const int64_t rows : {3, 70}) {
    const at::Tensor x = at::randn({rows, 80}).to(at::kBFloat16).narrow(1, 8, 64);
    const at::Tensor all = Linear(x, weight, bias);
    for (const auto& [first, count] : {std::pair{0, 64}, {32, 40}, {64, 136}, {70, 1}, {190, 10}}) {
      EXPECT_EQ(MaxDifference(Linear(x, weight, bias, first, count), all.narrow(1, first, count)), 0);
    }
  }
}

TEST(LinearTest, FewRowsGiveTheSameAloneAsAmongOthers) {
  const Weight weight(at::randn({96, 64}).to(at::kBFloat16));
  const at::Tensor x = at::randn({kMostDotRows, 64}).to(at::kBFloat16);
  const at::Tensor all = Linear(x, weight, {});
  for (int64_t row = 0; row < kMostDotRows; ++row) {
    EXPECT_EQ(MaxDifference(Linear(x.narrow(0, row, 1), weight, {}), all.narrow(0, row, 1)), 0);
  }
}

TEST(LinearTest, WhatIsNoNumberStaysSo) {
  at::Tensor plain = at::randn({4, 64}).to(at::kBFloat16);
  plain[1][3] = std::numeric_limits<float>::quiet_NaN();
  plain[2][40] = std::numeric_limits<float>::infinity();
  for (const int64_t rows : {1, 9}) {
    const at::Tensor x = at::randn({rows, 64}).to(at::kBFloat16);
    const at::Tensor result = Linear(x, Weight(plain), {}).to(at::kFloat);
    EXPECT_TRUE(result[0][1].isnan().item<bool>());
    EXPECT_TRUE(result[0][2].isinf().item<bool>());
    EXPECT_TRUE(result[0][3].isfinite().item<bool>());
  }
}

TEST(WeightTest, RowsComeBackAsTheyWere) {
  for (const at::ScalarType type : {at::kBFloat16, at::kFloat}) {
    for (const int64_t out : {1, 16, 37, 64, 200}) {
      const at::Tensor plain = at::randn({out, 34}).to(type);
      const Weight weight(plain);
      EXPECT_EQ(weight.out(), out);
      EXPECT_EQ(weight.in(), 34);
      std::vector<int64_t> rows;
      for (int64_t row = out - 1; row >= 0; --row) rows.push_back(row);
      EXPECT_EQ(MaxDifference(weight.Rows(rows), plain.flip(0)), 0);
    }
  }
}

}  // namespace
}  // namespace droidspeak
