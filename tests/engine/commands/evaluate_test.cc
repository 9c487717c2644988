// SPDX-License-Identifier: Apache-2.0
#include <filesystem>
#include <fstream>
#include <set>

#include "engine/dataset/f1.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/engine/commands/evaluation_harness.h"

namespace droidspeak {
namespace {

using ::testing::HasSubstr;

TEST(EvaluateTest, JsonHasTheFieldsOfTheContract) {
  const Fixture fixture;
  const nlohmann::json report = fixture.Evaluate("tuned", "base", {"--plan", "0,1,3", "--json"}).Json();
  ASSERT_TRUE(report.is_object());
  std::set<std::string> fields;
  for (const auto& [field, value] : report.items()) fields.insert(field);
  EXPECT_EQ(fields, (std::set<std::string>{"samples", "f1", "f1_ci95", "full_f1", "plan", "recomputed_layers", "layers",
                                           "context_tokens", "prefill_ms", "ttft_ms", "full_ttft_ms", "speedup",
                                           "ideal_speedup", "bytes", "tiers", "hit_rate", "fallbacks"}));
  EXPECT_EQ(report["samples"], fixture.questions());
  EXPECT_EQ(report["plan"], "0,1,3");
  EXPECT_EQ(report["recomputed_layers"], 2);
  EXPECT_EQ(report["layers"], Fixture::kLayers);
  EXPECT_EQ(report["f1_ci95"].size(), 2u);
  EXPECT_EQ(report["hit_rate"], 1.0);
  EXPECT_EQ(report["fallbacks"], 0);
  EXPECT_EQ(report["bytes"], (nlohmann::json{{"kv", 0}, {"e", 0}}));
  EXPECT_EQ(report["tiers"], (nlohmann::json{{"gpu", 0}, {"host", 0}, {"rocksdb", 0}}));
  EXPECT_GT(report["context_tokens"], 10);
  for (const char* times : {"prefill_ms", "ttft_ms", "full_ttft_ms"}) {
    EXPECT_GT(report[times]["p50"], 0.0) << times;
    EXPECT_GE(report[times]["p95"], report[times]["p50"]) << times;
  }
  EXPECT_GT(report["speedup"], 0.0);
  EXPECT_GT(report["ideal_speedup"], 0.0);
}

TEST(EvaluateTest, FullPlanReportsEqualFields) {
  const Fixture fixture;
  const nlohmann::json report = fixture.Evaluate("tuned", "base", {"--full", "--json"}).Json();
  ASSERT_TRUE(report.is_object());
  EXPECT_EQ(report["plan"], "full");
  EXPECT_EQ(report["recomputed_layers"], Fixture::kLayers);
  EXPECT_EQ(report["ttft_ms"], report["full_ttft_ms"]);
  EXPECT_EQ(report["f1"], report["full_f1"]);
  EXPECT_EQ(report["speedup"], 1.0);
  EXPECT_EQ(report["ideal_speedup"], 1.0);
  EXPECT_EQ(report["fallbacks"], 0);
}

TEST(EvaluateTest, ItselfAsSenderPredictsAsFullPrefillDoes) {
  const Fixture fixture;
  const std::vector<std::string> full = fixture.Predictions("tuned", "tuned", {"--full"});
  EXPECT_EQ(fixture.Predictions("tuned", "tuned", {"--plan", "0,1,3"}), full);
  EXPECT_EQ(fixture.Predictions("tuned", "tuned", {"--runs", "0-1,2-3"}), full);
  EXPECT_EQ(fixture.Predictions("tuned", "tuned", {"--reuse-all"}), full);
  EXPECT_EQ(fixture.Predictions("tuned", "tuned", {"--reuse-all=prompt"}), full);
  EXPECT_EQ(fixture.Predictions("tuned", "base", {"--plan", "4,4,4"}), full);
}

TEST(EvaluateTest, AnotherModelAsSenderChangesPredictions) {
  const Fixture fixture;
  EXPECT_NE(fixture.Predictions("tuned", "base", {"--reuse-all"}), fixture.Predictions("tuned", "base", {"--full"}));
}

TEST(EvaluateTest, F1IsThatOfTheAnswers) {
  const Fixture fixture;
  const std::vector<std::string> texts = fixture.Predictions("tuned", "tuned", {"--full"});
  EXPECT_EQ(fixture.Evaluate("tuned", "tuned", {"--full", "--json"}).Json()["f1"], 0.0);
  fixture.WriteAnswers(texts);
  double answered = 0;
  for (const std::string& text : texts) answered += !NormalizeAnswer(text).empty();
  ASSERT_GT(answered, 0) << "the model's answers have no words";
  const nlohmann::json report = fixture.Evaluate("tuned", "tuned", {"--plan", "0,1,3", "--json"}).Json();
  EXPECT_DOUBLE_EQ(report["f1"].get<double>(), answered / fixture.questions());
  EXPECT_DOUBLE_EQ(report["full_f1"].get<double>(), answered / fixture.questions());
}

TEST(EvaluateTest, LimitTakesTheFirstLines) {
  const Fixture fixture;
  EXPECT_EQ(fixture.Evaluate("tuned", "base", {"--full", "--json", "--limit", "2"}).Json()["samples"], 2);
}

TEST(EvaluateTest, WithoutJsonPrintsATable) {
  const Fixture fixture;
  const Outcome outcome = fixture.Evaluate("tuned", "base", {"--reuse-all", "--limit", "1"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.error;
  EXPECT_THAT(outcome.out, HasSubstr("reuse-all: 0 of 4 layers recomputed"));
}

TEST(EvaluateTest, PredictionsHaveTheFieldsOfTheContract) {
  const Fixture fixture;
  (void)fixture.Predictions("tuned", "base", {"--plan", "0,1,3"});
  std::ifstream file(fixture.Path("predictions.jsonl"));
  std::string line;
  ASSERT_TRUE(std::getline(file, line));
  const nlohmann::json prediction = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
  for (const char* field : {"_id", "prediction", "answers", "f1", "plan", "context_tokens", "ttft_ms", "bytes"}) {
    EXPECT_TRUE(prediction.contains(field)) << field;
  }
  EXPECT_EQ(prediction["_id"], "q0");
  EXPECT_EQ(prediction["answers"], nlohmann::json::array({"nothing"}));
}

// What each wrong invocation says, and the exit code.
struct BadCase {
  std::vector<std::string> arguments;
  int exit_code;
  std::string message;
};

TEST(EvaluateTest, WrongOptionsNameTheCulprit) {
  const Fixture fixture;
  const BadCase cases[] = {
      {{}, 2, "expected one of --full"},
      {{"--full", "--reuse-all"}, 2, "expected one of --full"},
      {{"--plan", "3,1,2"}, 2, "3,1,2"},
      {{"--plan", "0,1,9"}, 2, "0,1,9"},
      {{"--runs", "2-1"}, 2, "2-1"},
      {{"--reuse-all=half"}, 2, "--reuse-all"},
      {{"--full", "--profile", "p.json"}, 2, "--profile"},
      {{"--full", "--predictions", "/no/such/folder/out.jsonl"}, 1, "/no/such/folder/out.jsonl"},
      {{"--full", "--servers", "one,two"}, 2, "--servers"},
  };
  for (const BadCase& bad : cases) {
    const Outcome outcome = fixture.Evaluate("tuned", "base", bad.arguments);
    EXPECT_EQ(outcome.exit_code, bad.exit_code) << outcome.error;
    EXPECT_THAT(outcome.error, HasSubstr(bad.message));
    EXPECT_EQ(outcome.out, "");
  }
}

TEST(EvaluateTest, MissingFilesAreNamed) {
  const Fixture fixture;
  EXPECT_THAT(fixture.Evaluate("nobody", "base", {"--full"}).error, HasSubstr("nobody"));
  EXPECT_THAT(fixture.Evaluate("tuned", "nobody", {"--reuse-all"}).error, HasSubstr("nobody"));
  std::filesystem::remove(fixture.Path("tuned/tokenizer.json"));
  const Outcome no_tokenizer = fixture.Evaluate("tuned", "base", {"--full"});
  EXPECT_EQ(no_tokenizer.exit_code, 1);
  EXPECT_THAT(no_tokenizer.error, HasSubstr("tokenizer.json"));
  std::filesystem::remove(fixture.Path("data.jsonl"));
  const Outcome no_data = fixture.Evaluate("tuned", "base", {"--full"});
  EXPECT_EQ(no_data.exit_code, 1);
  EXPECT_THAT(no_data.error, HasSubstr("data.jsonl"));
}

TEST(EvaluateTest, PromptBeyondTheModelsLimitNamesTheQuestion) {
  const Fixture fixture;
  std::ofstream(fixture.Path("prompt.json"))
      << R"({"context":"{context}","suffix":" {input}","max_new_tokens":510,"stop":[]})";
  const Outcome outcome = fixture.Evaluate("tuned", "base", {"--full"});
  EXPECT_EQ(outcome.exit_code, 2);
  EXPECT_THAT(outcome.error, HasSubstr("q0"));
  EXPECT_THAT(outcome.error, HasSubstr("512"));
}

TEST(EvaluateTest, TokenizersThatDifferAreRefused) {
  const Fixture fixture;
  std::ifstream file(fixture.Path("base/tokenizer.json"));
  nlohmann::json tokenizer = nlohmann::json::parse(file);
  auto& vocabulary = tokenizer["model"]["vocab"];
  std::swap(vocabulary["!"], vocabulary["#"]);
  std::ofstream(fixture.Path("base/tokenizer.json")) << tokenizer.dump();
  const Outcome outcome = fixture.Evaluate("tuned", "base", {"--reuse-all"});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.error, HasSubstr("!"));
}

}  // namespace
}  // namespace droidspeak
