// SPDX-License-Identifier: Apache-2.0
#include "engine/commands/evaluation_report.h"

#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace droidspeak {
namespace {

QuestionResult Result(double full_ms, double plan_ms, double ideal_ms, int64_t used, int64_t offered) {
  QuestionResult result;
  result.full.first.ttft_ms = full_ms;
  result.plan.first.ttft_ms = plan_ms;
  result.plan.first.context_tokens = used;
  result.plan.first.stats = {.kv_bytes = 10, .e_bytes = 4, .tier_extents = {0, 2, 1}};
  result.ideal_ms = ideal_ms;
  result.offered = offered;
  return result;
}

Plan SomePlan() {
  return *Plan::ParseTriple("0,1,3", 8);
}

TEST(EvaluationReportTest, SpeedupsAreRatiosOfMedians) {
  const auto report =
      EvaluationJson(SomePlan(), {Result(100, 40, 20, 8, 8), Result(200, 50, 40, 8, 8), Result(900, 90, 0, 8, 8)}, 0);
  ASSERT_TRUE(report.ok());
  EXPECT_DOUBLE_EQ((*report)["speedup"].get<double>(), 200.0 / 50.0);
  // Only of the questions whose ideal time was measured.
  EXPECT_DOUBLE_EQ((*report)["ideal_speedup"].get<double>(), 150.0 / 30.0);
}

TEST(EvaluationReportTest, CountsFallbacksAndSumsBytes) {
  const auto report =
      EvaluationJson(SomePlan(), {Result(1, 1, 1, 16, 16), Result(1, 1, 1, 4, 16), Result(1, 1, 1, 0, 0)}, 0);
  ASSERT_TRUE(report.ok());
  EXPECT_EQ((*report)["fallbacks"], 1);
  EXPECT_DOUBLE_EQ((*report)["hit_rate"].get<double>(), 20.0 / 32.0);
  EXPECT_EQ((*report)["bytes"]["kv"], 30);
  EXPECT_EQ((*report)["bytes"]["e"], 12);
  EXPECT_EQ((*report)["tiers"]["host"], 6);
  EXPECT_EQ((*report)["tiers"]["rocksdb"], 3);
}

TEST(EvaluationReportTest, FullPlanNeverFallsBack) {
  const auto report = EvaluationJson(Plan::Full(8), {Result(3, 3, 0, 0, 16)}, 0);
  ASSERT_TRUE(report.ok());
  EXPECT_EQ((*report)["fallbacks"], 0);
  EXPECT_EQ((*report)["ideal_speedup"], 1.0);
}

TEST(EvaluationReportTest, SameSeedGivesTheSameInterval) {
  std::vector<QuestionResult> results(20, Result(1, 1, 1, 8, 8));
  for (size_t i = 0; i < results.size(); i += 3) results[i].plan.f1 = 1;
  const auto first = EvaluationJson(SomePlan(), results, 5), again = EvaluationJson(SomePlan(), results, 5);
  ASSERT_TRUE(first.ok() && again.ok());
  EXPECT_EQ((*first)["f1_ci95"], (*again)["f1_ci95"]);
  EXPECT_LT((*first)["f1_ci95"][0], (*first)["f1"]);
  EXPECT_GT((*first)["f1_ci95"][1], (*first)["f1"]);
}

}  // namespace
}  // namespace droidspeak
