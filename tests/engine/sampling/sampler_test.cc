// SPDX-License-Identifier: Apache-2.0
#include "engine/sampling/sampler.h"

#include <cmath>
#include <limits>
#include <set>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace droidspeak {
namespace {

using ::testing::HasSubstr;

// Logits of these probabilities.
std::vector<float> LogitsOf(const std::vector<double>& probabilities) {
  std::vector<float> logits;
  for (const double probability : probabilities) logits.push_back(static_cast<float>(std::log(probability)) + 3.0f);
  return logits;
}

std::vector<int32_t> Draws(const SamplingOptions& options, const std::vector<float>& logits, int count) {
  Sampler sampler(options);
  std::vector<int32_t> tokens;
  for (int i = 0; i < count; ++i) tokens.push_back(sampler.Choose(logits).token);
  return tokens;
}

std::set<int32_t> Seen(const SamplingOptions& options, const std::vector<float>& logits) {
  const std::vector<int32_t> tokens = Draws(options, logits, 2000);
  return {tokens.begin(), tokens.end()};
}

const std::vector<double> kProbabilities = {0.5, 0.3, 0.15, 0.05};
const std::vector<float> kFour = LogitsOf(kProbabilities);

TEST(SamplerTest, TemperatureZeroTakesTheFirstOfTheLikeliest) {
  EXPECT_EQ(Draws({.temperature = 0, .seed = 7}, {1, 5, 2, 5}, 3), (std::vector<int32_t>{1, 1, 1}));
}

TEST(SamplerTest, DrawsFollowTheProbabilitiesAtEachTemperature) {
  constexpr int kDraws = 40000;
  for (const double temperature : {0.5, 1.0, 2.0}) {
    std::vector<int> counts(4);
    for (const int32_t token : Draws({.temperature = temperature, .seed = 1}, kFour, kDraws)) ++counts[token];
    double total = 0;
    for (const double p : kProbabilities) total += std::pow(p, 1 / temperature);
    int token = 0;
    for (const double p : kProbabilities) {
      const double share = std::pow(p, 1 / temperature) / total;
      const double sigma = std::sqrt(share * (1 - share) * kDraws);
      EXPECT_NEAR(counts[token], share * kDraws, 4.5 * sigma) << token << " at " << temperature;
      ++token;
    }
  }
}

TEST(SamplerTest, ASeedRepeatsAndAnotherDiffers) {
  EXPECT_EQ(Draws({.seed = 5}, kFour, 200), Draws({.seed = 5}, kFour, 200));
  EXPECT_NE(Draws({.seed = 5}, kFour, 200), Draws({.seed = 6}, kFour, 200));
}

TEST(SamplerTest, TopKKeepsTheLikeliestAndOfEqualsTheFirst) {
  EXPECT_EQ(Seen({.top_k = 2}, kFour), (std::set<int32_t>{0, 1}));
  EXPECT_EQ(Seen({.top_k = 3}, {1, 2, 1, 2, 1}), (std::set<int32_t>{0, 1, 3}));
  EXPECT_EQ(Seen({.temperature = 2, .top_k = 1}, kFour), (std::set<int32_t>{0}));
  EXPECT_EQ(Seen({.top_k = 100}, kFour), (std::set<int32_t>{0, 1, 2, 3}));
}

TEST(SamplerTest, TopPKeepsTheFewestThatReachIt) {
  EXPECT_EQ(Seen({.top_p = 0.01}, kFour), (std::set<int32_t>{0}));
  EXPECT_EQ(Seen({.top_p = 0.79}, kFour), (std::set<int32_t>{0, 1}));
  EXPECT_EQ(Seen({.top_p = 0.81}, kFour), (std::set<int32_t>{0, 1, 2}));
  // After top_k: 0.5 and 0.3 are all there is, 0.5 is five eighths of it.
  EXPECT_EQ(Seen({.top_p = 0.6, .top_k = 2}, kFour), (std::set<int32_t>{0}));
  // A flat distribution has to be sorted further than its first candidates.
  const std::set<int32_t> flat = Seen({.top_p = 0.5}, std::vector<float>(600, 1.0f));
  EXPECT_GT(flat.size(), 200u);
  EXPECT_LT(*flat.rbegin(), 301);
}

TEST(SamplerTest, PenaltiesCountTheAnswersTokens) {
  // 2 is ahead of 1 by 0.5: with a penalty of 0.3 a time it is taken twice before 1 has its turn.
  EXPECT_EQ(Draws({.temperature = 0, .frequency_penalty = 0.3}, {0, 1.0f, 1.5f}, 4),
            (std::vector<int32_t>{2, 2, 1, 2}));
  EXPECT_EQ(Draws({.temperature = 0, .presence_penalty = 0.6}, {0, 1.0f, 1.5f}, 4), (std::vector<int32_t>{2, 1, 2, 2}));
  EXPECT_EQ(Draws({.temperature = 0, .presence_penalty = -1}, {0, 1.0f, 1.5f}, 3), (std::vector<int32_t>{2, 2, 2}));
}

TEST(SamplerTest, LogprobsAreTheModelsOwn) {
  Sampler sampler({.temperature = 2, .top_p = 0.5, .presence_penalty = 2, .top_logprobs = 3});
  for (int i = 0; i < 5; ++i) {
    const Choice choice = sampler.Choose(kFour);
    ASSERT_EQ(choice.top_logprobs.size(), 3u);
    EXPECT_EQ(choice.top_logprobs[0].token, 0);
    EXPECT_NEAR(choice.top_logprobs[0].logprob, std::log(0.5), 1e-6);
    EXPECT_NEAR(choice.top_logprobs[2].logprob, std::log(0.15), 1e-6);
    EXPECT_NEAR(choice.logprob, std::log(kProbabilities[choice.token]), 1e-6);
  }
  EXPECT_TRUE(Sampler({}).Choose(kFour).top_logprobs.empty());
  EXPECT_NEAR(Sampler({.temperature = 0, .top_logprobs = 0}).Choose(kFour).logprob, std::log(0.5), 1e-6);
  EXPECT_EQ(Sampler({.top_logprobs = 9}).Choose(kFour).top_logprobs.size(), 4u) << "no more than there are";
}

TEST(SamplerTest, OptionsOutOfRangeAreNamed) {
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  EXPECT_TRUE(SamplingOptions{}.Check().ok());
  EXPECT_TRUE((SamplingOptions{.temperature = 2, .top_p = 0.1, .top_k = 5, .presence_penalty = -2}).Check().ok());
  const std::vector<std::pair<std::string, SamplingOptions>> bad = {{"temperature", {.temperature = -0.1}},
                                                                    {"temperature", {.temperature = 2.1}},
                                                                    {"temperature", {.temperature = kNan}},
                                                                    {"top_p", {.top_p = 0}},
                                                                    {"top_p", {.top_p = 1.1}},
                                                                    {"top_p", {.top_p = kNan}},
                                                                    {"top_k", {.top_k = -1}},
                                                                    {"presence_penalty", {.presence_penalty = 2.5}},
                                                                    {"presence_penalty", {.presence_penalty = kNan}},
                                                                    {"frequency_penalty", {.frequency_penalty = -2.5}},
                                                                    {"top_logprobs", {.top_logprobs = 21}}};
  for (const auto& [field, options] : bad) {
    const absl::Status status = options.Check();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << field;
    EXPECT_THAT(std::string(status.message()), HasSubstr(field));
  }
}

}  // namespace
}  // namespace droidspeak
