// SPDX-License-Identifier: Apache-2.0
// The main job with the programs as users run them: the shipped base model fills a cache server, the tuned one answers.
#include <fstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/engine/commands/engine_program.h"
#include "tests/support/server_process.h"

namespace droidspeak {
namespace {

using nlohmann::json;

const std::string kPair = DROIDSPEAK_PAIR;
const std::string kData =
    absl::StrCat(" --dataset ", kPair, "/data/test.jsonl --prompt ", kPair, "/prompt.json --limit 12");
const std::string kPlan = "--plan 0,1,5";

json MustRun(const std::string& arguments) {
  const Outcome outcome = RunEngine(arguments);
  EXPECT_EQ(outcome.exit_code, 0) << outcome.messages;
  return json::parse(outcome.output, nullptr, /*allow_exceptions=*/false);
}

class PairTest : public ::testing::Test {
 protected:
  // `mode` of evaluate; `servers` may be empty.
  json Evaluate(const std::string& mode, const std::string& servers) {
    return MustRun(absl::StrCat("evaluate --receiver ", kPair, "/models/tuned --sender ", kPair, "/models/base", kData,
                                " ", mode, servers, " --json --predictions ", folder_.path(), "/out.jsonl"));
  }
  // Of the last Evaluate.
  std::vector<std::string> Predictions() const {
    std::ifstream file(folder_.path() + "/out.jsonl");
    std::vector<std::string> texts;
    for (std::string line; std::getline(file, line);) texts.push_back(json::parse(line)["prediction"]);
    return texts;
  }
  TemporaryFolder folder_;
};

TEST_F(PairTest, AnswersThroughAServerThatSpillsAreThoseInProcess) {
  // The twelve contexts' KV and E have 20 MiB.
  auto server = ServerProcess::Start("cache-0", {"--host-pool", "16MiB", "--spill", folder_.path() + "/spill"});
  ASSERT_TRUE(server.ok()) << server.status();
  const std::string servers = absl::StrCat(" --servers ", (*server)->listen());
  const json filled =
      MustRun(absl::StrCat("fill --model ", kPair, "/models/base", kData, servers, " --keep-e 1 --json"));
  EXPECT_EQ(filled["contexts"], 12);

  const json in_process = Evaluate(kPlan, "");
  const std::vector<std::string> expected = Predictions();
  ASSERT_EQ(expected.size(), 12u);
  const json served = Evaluate(kPlan, servers);
  EXPECT_EQ(Predictions(), expected);
  EXPECT_EQ(served["f1"], in_process["f1"]);
  EXPECT_EQ(served["fallbacks"], 0);
  EXPECT_EQ(served["hit_rate"], 1.0);
  EXPECT_GT(served["tiers"]["rocksdb"], 0);
  EXPECT_GT(served["bytes"]["e"], 0);

  // What the pair is for: reusing everything costs quality, the plan doesn't.
  const json reuse_all = Evaluate("--reuse-all", servers);
  EXPECT_LT(reuse_all["f1"].get<double>(), 0.9 * served["f1"].get<double>());
  EXPECT_GE(served["f1"].get<double>(), 0.95 * served["full_f1"].get<double>());
}

TEST_F(PairTest, EmptyServerMakesAnswersThoseOfFullPrefillAndADeadOneIsNamed) {
  auto server = ServerProcess::Start("cache-0", {"--host-pool", "32MiB"});
  ASSERT_TRUE(server.ok()) << server.status();
  const std::string servers = absl::StrCat(" --servers ", (*server)->listen());
  const json report = Evaluate("--reuse-all", servers);  // nothing was filled
  EXPECT_EQ(report["fallbacks"], 12);
  EXPECT_EQ(report["f1"], report["full_f1"]);
  (*server)->Kill();
  const Outcome outcome = RunEngine(absl::StrCat("evaluate --receiver ", kPair, "/models/tuned --sender ", kPair,
                                                 "/models/base", kData, " --reuse-all", servers));
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_NE(outcome.messages.find((*server)->listen()), std::string::npos) << outcome.messages;
}

}  // namespace
}  // namespace droidspeak
