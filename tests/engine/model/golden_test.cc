// SPDX-License-Identifier: Apache-2.0
// Logits and cache against transformers, on the checkpoints that make_goldens.py made.
#include <ATen/ops/index_select.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "engine/model/score.h"
#include "tests/engine/model/fixture.h"

namespace droidspeak {
namespace {

constexpr float kFp32Tolerance = 1e-4f;
constexpr int64_t kLengths[] = {1, 17, 255, 300, 700};

// "llama-mha-16+llama-mha-16/adapter-layers" -> the folder that holds its golden.
std::string GoldenDir(const std::string& spec) {
  const size_t plus = spec.find('+');
  return plus == std::string::npos ? spec : spec.substr(plus + 1);
}

class GoldenTest : public testing::TestWithParam<const char*> {
 protected:
  [[nodiscard]] at::Tensor Golden(const std::string& name) const {
    return ReadTensor(TestData(GoldenDir(GetParam())) + "/golden.safetensors", name);
  }

  // Largest difference to transformers' fp32 logits over the golden rows of a prompt of `length` tokens.
  [[nodiscard]] float Error(const Model& model, int64_t length) const {
    const auto tokens = GoldenTokens(GoldenDir(GetParam()), length);
    const auto logits = ScoreTokens(model, tokens, /*all_positions=*/true);
    EXPECT_TRUE(logits.ok()) << logits.status();
    const std::string suffix = "." + std::to_string(length);
    return MaxDifference(logits->index_select(0, Golden("rows" + suffix)), Golden("logits" + suffix));
  }
};

TEST_P(GoldenTest, Fp32LogitsEqualTransformers) {
  const auto model = LoadTestModel(GetParam(), Dtype::kFloat32);
  for (const int64_t length : kLengths) EXPECT_LE(Error(*model, length), kFp32Tolerance) << length << " tokens";
}

// Over all lengths together: the largest of a few rows' rounding errors alone would measure luck.
TEST_P(GoldenTest, Bf16ErrorIsAtMostTwiceThatOfTransformers) {
  const auto model = LoadTestModel(GetParam(), Dtype::kBfloat16);
  float error = 0, transformers_error = 0;
  for (const int64_t length : kLengths) {
    error = std::max(error, Error(*model, length));
    transformers_error = std::max(transformers_error, Golden("bf16_error." + std::to_string(length)).item<float>());
  }
  EXPECT_LE(error, 2 * transformers_error);
}

TEST_P(GoldenTest, LastPositionEqualsThatOfAllPositions) {
  const auto model = LoadTestModel(GetParam(), Dtype::kFloat32);
  const auto tokens = GoldenTokens(GoldenDir(GetParam()), 300);
  const auto last = ScoreTokens(*model, tokens, /*all_positions=*/false);
  ASSERT_TRUE(last.ok()) << last.status();
  EXPECT_EQ(last->dim(), 1);
  EXPECT_LE(MaxDifference(*last, Golden("logits.300")[-1]), kFp32Tolerance);
}

TEST_P(GoldenTest, CacheEqualsTransformers) {
  const auto model = LoadTestModel(GetParam(), Dtype::kFloat32);
  const auto dump = DumpCache(*model, GoldenTokens(GoldenDir(GetParam()), 17));
  ASSERT_TRUE(dump.ok()) << dump.status();
  EXPECT_LE(MaxDifference(dump->e, Golden("e")), kFp32Tolerance);
  EXPECT_LE(MaxDifference(dump->k, Golden("k")), kFp32Tolerance);
  EXPECT_LE(MaxDifference(dump->v, Golden("v")), kFp32Tolerance);
}

INSTANTIATE_TEST_SUITE_P(Checkpoints, GoldenTest,
                         testing::Values("llama-mha-16", "llama-mha-16+llama-mha-16/adapter-patterns",
                                         "llama-mha-16+llama-mha-16/adapter-layers", "llama-gqa-64",
                                         "llama-gqa-128-sharded", "llama-bias-linear", "mistral-window", "mistral-old",
                                         "qwen2-window", "qwen2-old", "qwen3-tied", "qwen3-bias",
                                         "qwen3-bias+qwen3-bias/adapter-patterns",
                                         "qwen3-bias+qwen3-bias/adapter-layers", "phi3-longrope",
                                         "phi3-longrope+phi3-longrope/adapter-fused", "phi3-partial", "phi3-default",
                                         "llama-dynamic", "qwen2-yarn", "mistral-yarn", "llama-longrope"));

TEST(ScoreTest, BadPromptsAreRefused) {
  const auto model = LoadTestModel("llama-mha-16", Dtype::kFloat32);
  const std::vector<int32_t> none, unknown = {5, 128}, negative = {-1}, too_long(1025, 3);
  EXPECT_TRUE(FailsNaming(ScoreTokens(*model, none, false).status(), {"0 tokens", "1024"}));
  EXPECT_TRUE(FailsNaming(ScoreTokens(*model, unknown, false).status(), {"token 128", "127"}));
  EXPECT_TRUE(FailsNaming(ScoreTokens(*model, negative, false).status(), {"token -1"}));
  EXPECT_TRUE(FailsNaming(ScoreTokens(*model, too_long, false).status(), {"1025 tokens", "1024"}));
}

}  // namespace
}  // namespace droidspeak
