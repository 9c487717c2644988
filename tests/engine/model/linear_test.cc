// SPDX-License-Identifier: Apache-2.0
#include "engine/model/linear.h"

#include <ATen/ops/linear.h>
#include <ATen/ops/randn.h>
#include <gtest/gtest.h>

#include <limits>

#include "engine/model/kernels.h"
#include "tests/engine/model/fixture.h"

namespace droidspeak {
namespace {

// The product in fp32, rounded once.
at::Tensor Expected(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  const at::Tensor added = bias.defined() ? bias.to(at::kFloat) : at::Tensor();
  return at::linear(x.to(at::kFloat), weight.to(at::kFloat), added.defined() ? std::optional(added) : std::nullopt);
}

// Widths that are and are not multiples of what a vector holds; row counts on both sides of where the way changes.
TEST(LinearTest, EachNumberOfRowsGivesTheProduct) {
  for (const at::ScalarType type : {at::kBFloat16, at::kFloat}) {
    for (const int64_t in : {1, 16, 31, 32, 100, 1024}) {
      const at::Tensor weight = at::randn({37, in}).to(type), bias = at::randn({37}).to(type);
      for (int64_t rows = 1; rows <= kMostDotRows + 2; ++rows) {
        const at::Tensor x = at::randn({rows, in}).to(type);
        for (const at::Tensor& added : {at::Tensor(), bias}) {
          const at::Tensor expected = Expected(x, weight, added), result = Linear(x, weight, added);
          ASSERT_EQ(result.scalar_type(), type);
          // A result of bf16 is off by half of its last place.
          const double tolerance = type == at::kFloat ? 1e-4 : 0.005 * expected.abs().max().item<double>();
          EXPECT_LE(MaxDifference(result, expected), tolerance) << rows << " x " << in;
        }
      }
    }
  }
}

TEST(LinearTest, PartOfAWeightAndRowsApart) {
  const at::Tensor weight = at::randn({96, 64}).to(at::kBFloat16), bias = at::randn({96}).to(at::kBFloat16);
  const at::Tensor x = at::randn({3, 80}).to(at::kBFloat16).narrow(1, 8, 64);
  const at::Tensor all = Linear(x, weight, bias);
  EXPECT_EQ(MaxDifference(Linear(x, weight, bias, 32, 40), all.narrow(1, 32, 40)), 0);
  EXPECT_EQ(MaxDifference(Linear(x.narrow(0, 1, 1), weight, bias), all.narrow(0, 1, 1)), 0) << "alone as among others";
}

TEST(LinearTest, WhatIsNoNumberStaysSo) {
  at::Tensor weight = at::randn({4, 64}).to(at::kBFloat16);
  const at::Tensor x = at::randn({1, 64}).to(at::kBFloat16);
  weight[1][3] = std::numeric_limits<float>::quiet_NaN();
  weight[2][40] = std::numeric_limits<float>::infinity();
  const at::Tensor result = Linear(x, weight, {}).to(at::kFloat);
  EXPECT_TRUE(result[0][1].isnan().item<bool>());
  EXPECT_TRUE(result[0][2].isinf().item<bool>());
  EXPECT_TRUE(result[0][3].isfinite().item<bool>());
}

}  // namespace
}  // namespace droidspeak
