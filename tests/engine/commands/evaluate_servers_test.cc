// SPDX-License-Identifier: Apache-2.0
// `fill` and `evaluate` with a real cache server.
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/engine/commands/evaluation_harness.h"

namespace droidspeak {
namespace {

using ::testing::HasSubstr;

class EvaluateServersTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto server = ServerProcess::Start("cache-0", {"--host-pool", "64MiB"});
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }
  // A block of one token, so that in-process contexts and full blocks are the same tokens.
  [[nodiscard]] std::vector<std::string> Servers(std::vector<std::string> more, const std::string& block = "1") const {
    more.insert(more.end(), {"--servers", server_->listen(), "--block-tokens", block});
    return more;
  }

  const Fixture fixture_;
  std::unique_ptr<ServerProcess> server_;
};

TEST_F(EvaluateServersTest, PredictsAsInProcessAfterFill) {
  const nlohmann::json filled = fixture_.Fill("base", Servers({"--json", "--keep-e", "1"})).Json();
  EXPECT_EQ(filled["contexts"], fixture_.questions());
  EXPECT_EQ(fixture_.Predictions("tuned", "base", Servers({"--plan", "0,1,3"})),
            fixture_.Predictions("tuned", "base", {"--plan", "0,1,3"}));
  const nlohmann::json report = fixture_.Evaluate("tuned", "base", Servers({"--plan", "0,1,3", "--json"})).Json();
  EXPECT_EQ(report["hit_rate"], 1.0);
  EXPECT_EQ(report["fallbacks"], 0);
  EXPECT_GT(report["tiers"]["host"], 0);
  // Two of four layers' KV (2 x 2 heads x 8 floats a token) and one layer's E (32 floats a token).
  EXPECT_EQ(report["bytes"]["kv"].get<int64_t>(), 2 * report["bytes"]["e"].get<int64_t>());
}

TEST_F(EvaluateServersTest, FilledTwiceComputesNothingNew) {
  EXPECT_GT(fixture_.Fill("base", Servers({"--json"}, "4")).Json()["computed_tokens"], 0);
  EXPECT_EQ(fixture_.Fill("base", Servers({"--json"}, "4")).Json()["computed_tokens"], 0);
}

TEST_F(EvaluateServersTest, WhatWasNeverFilledCountsAsFallbacksAndAnswersAsFullPrefill) {
  const nlohmann::json report = fixture_.Evaluate("tuned", "base", Servers({"--plan", "0,1,3", "--json"})).Json();
  EXPECT_EQ(report["fallbacks"], fixture_.questions());
  EXPECT_EQ(report["hit_rate"], 0.0);
  EXPECT_EQ(fixture_.Predictions("tuned", "base", Servers({"--plan", "0,1,3"})),
            fixture_.Predictions("tuned", "base", {"--full"}));
}

TEST_F(EvaluateServersTest, PlanWhoseEWasNotKeptFallsBack) {
  EXPECT_EQ(fixture_.Fill("base", Servers({"--keep-e", "none"})).exit_code, 0);
  EXPECT_EQ(fixture_.Evaluate("tuned", "base", Servers({"--reuse-all", "--json"})).Json()["fallbacks"], 0);
  EXPECT_EQ(fixture_.Evaluate("tuned", "base", Servers({"--plan", "0,1,3", "--json"})).Json()["fallbacks"],
            fixture_.questions());
}

TEST_F(EvaluateServersTest, OnlyTheLimitedContextsAreFilled) {
  EXPECT_EQ(fixture_.Fill("base", Servers({"--limit", "1"}, "16")).exit_code, 0);
  const nlohmann::json report = fixture_.Evaluate("tuned", "base", Servers({"--reuse-all", "--json"}, "16")).Json();
  EXPECT_EQ(report["fallbacks"], fixture_.questions() - 1);
  EXPECT_GT(report["hit_rate"], 0.0);
  EXPECT_LT(report["hit_rate"], 1.0);
}

TEST_F(EvaluateServersTest, DeadServerFailsFillAndNamesIt) {
  const std::vector<std::string> arguments = Servers({});
  server_->Kill();
  const Outcome outcome = fixture_.Fill("base", arguments);
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.error, HasSubstr(arguments[1]));
}

TEST_F(EvaluateServersTest, WrongLayersToKeepAreRefused) {
  for (const char* layers : {"4", "-1", "some", "1,,2", ""}) {
    const Outcome outcome = fixture_.Fill("base", Servers({"--keep-e", layers}));
    EXPECT_EQ(outcome.exit_code, 2) << layers;
    EXPECT_THAT(outcome.error, HasSubstr("--keep-e")) << layers;
  }
}

TEST(FillTest, NeedsServers) {
  const Fixture fixture;
  const Outcome outcome = fixture.Fill("base", {});
  EXPECT_EQ(outcome.exit_code, 2);
  EXPECT_THAT(outcome.error, HasSubstr("--servers"));
}

}  // namespace
}  // namespace droidspeak
