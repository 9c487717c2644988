// SPDX-License-Identifier: Apache-2.0
#include "engine/prefill/plan.h"

#include <set>
#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace droidspeak {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

Plan Triple(const std::string& text, int64_t layers = 8) {
  absl::StatusOr<Plan> plan = Plan::ParseTriple(text, layers);
  EXPECT_TRUE(plan.ok()) << plan.status();
  return *plan;
}

std::string TripleError(const std::string& text) {
  const absl::Status status = Plan::ParseTriple(text, 8).status();
  EXPECT_TRUE(absl::IsInvalidArgument(status)) << text;
  return std::string(status.message());
}

std::string RunsError(const std::string& text) {
  const absl::Status status = Plan::ParseRuns(text, 8).status();
  EXPECT_TRUE(absl::IsInvalidArgument(status)) << text;
  return std::string(status.message());
}

TEST(PlanTest, TripleWithTransitionNeedsOneEAndKvOfReusedLayers) {
  const Plan plan = Triple("2,4,6");
  EXPECT_THAT(plan.runs(), ElementsAre(LayerRun{0, 2}, LayerRun{4, 6}));
  EXPECT_THAT(plan.e_layers(), ElementsAre(4));
  EXPECT_THAT(plan.kv_layers(), ElementsAre(2, 3, 6, 7));
  EXPECT_EQ(plan.recomputed_layers(), 4);
  EXPECT_EQ(plan.exact_layers(), 2);
  EXPECT_EQ(plan.text(), "2,4,6");
  EXPECT_FALSE(plan.is_full());
}

TEST(PlanTest, EqualEndsAreCanonical) {
  EXPECT_EQ(Triple("3,5,5").runs(), Triple("3,3,3").runs());
  EXPECT_EQ(Triple("3,3,6").runs(), Triple("6,6,6").runs());
  EXPECT_EQ(Triple("0,0,6").runs(), Triple("6,6,6").runs());
  EXPECT_EQ(Triple("3,3,6").text(), "3,3,6");
}

TEST(PlanTest, ExtremesAreFullPrefillAndFullReuse) {
  EXPECT_TRUE(Triple("8,8,8").is_full());
  EXPECT_TRUE(Triple("0,0,8").is_full());
  EXPECT_TRUE(Plan::Full(8).is_full());
  EXPECT_THAT(Triple("0,0,0").runs(), IsEmpty());
  EXPECT_THAT(Triple("0,4,4").runs(), IsEmpty());
  EXPECT_EQ(Triple("0,0,0").kv_layers().size(), 8U);
}

size_t DistinctTriples(int layers) {
  std::set<std::string> distinct;
  for (int a = 0; a <= layers; ++a) {
    for (int b = a; b <= layers; ++b) {
      for (int c = b; c <= layers; ++c) {
        const Plan plan = Triple(absl::StrCat(a, ",", b, ",", c), layers);
        std::string runs;
        for (const LayerRun& run : plan.runs()) {
          absl::StrAppend(&runs, run.begin, "-", run.end, " ");
        }
        distinct.insert(runs);
      }
    }
  }
  return distinct.size();
}

TEST(PlanTest, DistinctTriplesAreAsManyAsThePaperHasPlans) {
  EXPECT_EQ(DistinctTriples(8), 93U);
  EXPECT_EQ(DistinctTriples(32), 5489U);
}

TEST(PlanTest, RunsKeepTouchingOnesApart) {
  absl::StatusOr<Plan> plan = Plan::ParseRuns("0-2,2-4,7-8", 8);
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_THAT(plan->runs(), ElementsAre(LayerRun{0, 2}, LayerRun{2, 4}, LayerRun{7, 8}));
  EXPECT_THAT(plan->e_layers(), ElementsAre(2, 7));
  EXPECT_EQ(plan->exact_layers(), 2);
}

TEST(PlanTest, TouchingRunsOverAllLayersAreNotFullPrefill) {
  EXPECT_FALSE(Plan::ParseRuns("0-4,4-8", 8)->is_full());
  EXPECT_TRUE(Plan::ParseRuns("0-8", 8)->is_full());
}

TEST(PlanTest, WrongTriplesAreNamed) {
  EXPECT_THAT(TripleError("4,2,6"), HasSubstr("\"4,2,6\": out of order"));
  EXPECT_THAT(TripleError("1,2,9"), HasSubstr("layer 9 is beyond the model's 8 layers"));
  EXPECT_THAT(TripleError("1,2"), HasSubstr("expected three layer numbers"));
  EXPECT_THAT(TripleError("1,-2,3"), HasSubstr("\"-2\" is no layer number"));
  EXPECT_THAT(TripleError("1,2,99999999999999999999"), HasSubstr("is no layer number"));
}

TEST(PlanTest, WrongRunsAreNamed) {
  EXPECT_THAT(RunsError("4-4"), HasSubstr("run 4-4 is empty"));
  EXPECT_THAT(RunsError("6-9"), HasSubstr("run 6-9 ends beyond the model's 8 layers"));
  EXPECT_THAT(RunsError("4-6,5-7"), HasSubstr("run 5-7 overlaps or precedes"));
  EXPECT_THAT(RunsError("4-6,1-2"), HasSubstr("run 1-2 overlaps or precedes"));
  EXPECT_THAT(RunsError("4"), HasSubstr("expected runs of layers"));
  EXPECT_THAT(RunsError(""), HasSubstr("expected runs of layers"));
}

}  // namespace
}  // namespace droidspeak
