// SPDX-License-Identifier: Apache-2.0
// `score` and `generate` as users run them.
#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "engine/model/safetensors.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/engine/commands/engine_program.h"
#include "tests/support/server_process.h"

namespace droidspeak {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

const std::string kData = DROIDSPEAK_PREFILL_TESTDATA;
const std::string kSender = kData + "/llama-sender", kReceiver = kData + "/llama-receiver";
constexpr double kTolerance = 1e-4;

class CommandsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto goldens = SafetensorsFile::Open(kData + "/goldens.safetensors").value();
    const StoredTensor& stored = goldens->tensors().at("llama.tokens");
    ids_.resize(stored.shape[0]);
    std::memcpy(ids_.data(), stored.bytes.data(), stored.bytes.size());
    WriteTokens(In(), {{"llama", ids_}});
  }
  std::string In() const { return folder_.path() + "/in.safetensors"; }
  std::string Out() const { return folder_.path() + "/out.safetensors"; }

  // Runs `score` with the files in place; arguments may name more.
  Outcome Score(const std::string& arguments) const {
    return RunEngine(absl::StrCat("score --dtype fp32 --tokens ", In(), " --out ", Out(), " ", arguments));
  }

  TemporaryFolder folder_;
  std::vector<int64_t> ids_;
};

TEST_F(CommandsTest, ScoreGivesLastAndAllPositions) {
  ASSERT_EQ(Score("--model " + kReceiver).exit_code, 0);
  const Values last = ReadTensors(Out()).at("llama");
  EXPECT_THAT(last.shape, ElementsAre(61));
  ASSERT_EQ(Score("--all-positions --model " + kReceiver).exit_code, 0);
  const Values all = ReadTensors(Out()).at("llama");
  EXPECT_THAT(all.shape, ElementsAre(61, 61));
  const Values end{{61}, {all.values.end() - 61, all.values.end()}};
  EXPECT_LE(MaxDifference(last, end), kTolerance);
}

TEST_F(CommandsTest, ScoreUnderPlansGivesTheReferencesLogits) {
  const Outcome outcome = Score(absl::StrCat("--all-positions --model ", kReceiver, " --sender ", kSender,
                                             " --context 40 --plan 1,2,3 --plan 0,0,4 --runs 1-2,3-4 --plan 3,3,3"));
  ASSERT_EQ(outcome.exit_code, 0) << outcome.messages;
  const auto goldens = ReadTensors(kData + "/goldens.safetensors");
  const auto out = ReadTensors(Out());
  EXPECT_EQ(out.size(), 4U);
  for (const char* name : {"llama@1,2,3", "llama@0,0,4", "llama@1-2,3-4", "llama@3,3,3"}) {
    ASSERT_TRUE(out.contains(name)) << name;
    EXPECT_THAT(out.at(name).shape, ElementsAre(21, 61));
    EXPECT_LE(MaxDifference(out.at(name), goldens.at(name)), kTolerance) << name;
  }
}

TEST_F(CommandsTest, ScoreDumpsTheCache) {
  const std::string dump = folder_.path() + "/dump.safetensors";
  ASSERT_EQ(Score("--model " + kReceiver + " --dump-cache " + dump).exit_code, 0);
  const auto cache = ReadTensors(dump);
  EXPECT_THAT(cache.at("llama.E").shape, ElementsAre(4, 61, 32));
  EXPECT_THAT(cache.at("llama.K").shape, ElementsAre(4, 2, 61, 8));
  EXPECT_THAT(cache.at("llama.V").shape, ElementsAre(4, 2, 61, 8));
}

TEST_F(CommandsTest, GenerateContinuesGreedilyAsScoreSays) {
  std::vector<int64_t> expected, sequence = ids_;
  for (int i = 0; i < 3; ++i) {
    WriteTokens(In(), {{"x", sequence}});
    ASSERT_EQ(Score("--model " + kReceiver).exit_code, 0);
    const std::vector<float> logits = ReadTensors(Out()).at("x").values;
    expected.push_back(std::max_element(logits.begin(), logits.end()) - logits.begin());
    sequence.push_back(expected.back());
  }
  WriteTokens(In(), {{"x", ids_}});
  const Outcome outcome = RunEngine(
      absl::StrCat("generate --dtype fp32 --ignore-eos --json --max-tokens 3 --model ", kReceiver, " --tokens ", In()));
  ASSERT_EQ(outcome.exit_code, 0) << outcome.messages;
  const nlohmann::json answer = nlohmann::json::parse(outcome.output);
  EXPECT_EQ(answer.at("tokens"), expected);
  EXPECT_TRUE(answer.at("text").is_null());
  EXPECT_EQ(answer.at("plan"), "full");
  EXPECT_EQ(answer.at("context_tokens"), 0);
}

// longrope with an original length of 48: a prompt of 48 tokens is short as long as one token is asked for, whose row
// no other follows.
TEST_F(CommandsTest, WhatGenerateMayComeToFixesTheRegime) {
  const std::string model = kData + "/phi3-long-sender";
  const auto likeliest = [](const float* row) { return std::max_element(row, row + 61) - row; };
  std::vector<int64_t> prompt(ids_.begin() + 1, ids_.begin() + 49), longer = prompt;
  longer.push_back(5);
  WriteTokens(In(), {{"longer", longer}, {"prompt", prompt}});
  ASSERT_EQ(Score("--all-positions --model " + model).exit_code, 0);
  const auto scores = ReadTensors(Out());
  const int64_t as_short = likeliest(&scores.at("prompt").values[47 * 61]);
  const int64_t as_long = likeliest(&scores.at("longer").values[47 * 61]);
  ASSERT_NE(as_short, as_long) << "the test would show nothing";
  WriteTokens(In(), {{"prompt", prompt}});
  for (const auto& [max_tokens, expected] : {std::pair(1, as_short), std::pair(2, as_long)}) {
    const Outcome outcome = RunEngine(absl::StrCat("generate --dtype fp32 --ignore-eos --json --max-tokens ",
                                                   max_tokens, " --model ", model, " --tokens ", In()));
    ASSERT_EQ(outcome.exit_code, 0) << outcome.messages;
    EXPECT_EQ(nlohmann::json::parse(outcome.output).at("tokens")[0], expected) << max_tokens;
  }
}

TEST_F(CommandsTest, GenerateReportsThePlanAsTyped) {
  const Outcome outcome = RunEngine(absl::StrCat("generate --dtype fp32 --json --max-tokens 1 --model ", kReceiver,
                                                 " --sender ", kSender, " --plan 2,3,3 --tokens ", In()));
  ASSERT_EQ(outcome.exit_code, 0) << outcome.messages;
  const nlohmann::json answer = nlohmann::json::parse(outcome.output);
  EXPECT_EQ(answer.at("plan"), "2,3,3");
  EXPECT_EQ(answer.at("context_tokens"), 60);
}

struct BadInput {
  const char* name;
  const char* arguments;  // SENDER, RECEIVER, IN, OUT, FOLDER and TESTDATA are replaced
  int exit_code;
  const char* message;
};

class BadInputTest : public CommandsTest, public ::testing::WithParamInterface<BadInput> {};

TEST_P(BadInputTest, IsNamedAndNothingIsWritten) {
  std::ofstream(folder_.path() + "/unknown.yaml") << "dtype: fp32\nblok-tokens: 4\n";
  std::ofstream(folder_.path() + "/broken.safetensors") << "not a header";
  WriteTokens(folder_.path() + "/vocabulary.safetensors", {{"x", {1, 61}}});
  WriteTokens(folder_.path() + "/long.safetensors", {{"x", std::vector<int64_t>(257, 3)}});
  WriteTokens(folder_.path() + "/two.safetensors", {{"x", {1}}, {"y", {2}}});
  std::filesystem::create_directory(folder_.path() + "/deep");
  std::ofstream(folder_.path() + "/deep/config.json")
      << R"({"vocab_size": )" << std::string(200'000, '[') << std::string(200'000, ']') << "}";
  std::filesystem::create_symlink("/dev/null", folder_.path() + "/null");
  const std::string arguments = absl::StrReplaceAll(GetParam().arguments, {{"SENDER", kSender},
                                                                           {"RECEIVER", kReceiver},
                                                                           {"TESTDATA", kData},
                                                                           {"FOLDER", folder_.path()},
                                                                           {"IN", In()},
                                                                           {"OUT", Out()}});
  const Outcome outcome = RunEngine(arguments);
  EXPECT_EQ(outcome.exit_code, GetParam().exit_code) << outcome.messages;
  EXPECT_THAT(outcome.messages, HasSubstr(GetParam().message));
  EXPECT_THAT(outcome.messages, Not(HasSubstr("terminate called")));
  EXPECT_FALSE(std::filesystem::exists(Out()));
}

INSTANTIATE_TEST_SUITE_P(
    Engine, BadInputTest,
    ::testing::Values(
        BadInput{"PlanOutOfOrder",
                 "score --model RECEIVER --sender SENDER --tokens IN --out OUT --context 8 --plan 3,2,4", 2,
                 "\"3,2,4\": out of order"},
        BadInput{"PlanBeyondTheLayers",
                 "score --model RECEIVER --sender SENDER --tokens IN --out OUT --context 8 --plan 1,2,5", 2,
                 "layer 5 is beyond the model's 4 layers"},
        BadInput{"RunsOverlap",
                 "score --model RECEIVER --sender SENDER --tokens IN --out OUT --context 8 --runs 0-2,1-3", 2,
                 "run 1-3 overlaps"},
        BadInput{"PlanWithoutSender", "score --model RECEIVER --tokens IN --out OUT --plan 1,2,3", 2, "need --sender"},
        BadInput{"SenderWithoutPlan", "score --model RECEIVER --sender SENDER --tokens IN --out OUT --context 8", 2,
                 "--sender needs --plan or --runs"},
        BadInput{"ContextOfAllTokens",
                 "score --model RECEIVER --sender SENDER --tokens IN --out OUT --context 61 --plan 1,2,3", 2,
                 "--context 61 leaves nothing of the 61 tokens"},
        BadInput{"ContextInsideABlockWithServers",
                 "score --model RECEIVER --sender SENDER --tokens IN --out OUT --context 40 --plan 1,2,3 --servers "
                 "127.0.0.1:9 --block-tokens 16",
                 2, "--context 40 is no multiple of the block of 16 tokens"},
        BadInput{"UnreachableServer",
                 "score --model RECEIVER --sender SENDER --tokens IN --out OUT --context 48 --plan 1,2,3 --servers "
                 "127.0.0.1:9 --block-tokens 16",
                 1, "127.0.0.1:9"},
        BadInput{"MalformedServer",
                 "score --model RECEIVER --sender SENDER --tokens IN --out OUT --context 48 --plan 1,2,3 --servers "
                 "nowhere --block-tokens 16",
                 2, "--servers: "},
        BadInput{"MissingModel", "score --model FOLDER/none --tokens IN --out OUT", 1, "/none"},
        BadInput{"MissingTokens", "score --model RECEIVER --tokens FOLDER/none --out OUT", 1, "/none"},
        BadInput{"BrokenTokens", "score --model RECEIVER --tokens FOLDER/broken.safetensors --out OUT", 1,
                 "broken.safetensors"},
        BadInput{"TokensOfAnotherType",
                 "score --model RECEIVER --tokens TESTDATA/llama-sender/model.safetensors --out OUT", 1,
                 "expected 1-D I64 or I32"},
        BadInput{"TokenBeyondTheVocabulary", "score --model RECEIVER --tokens FOLDER/vocabulary.safetensors --out OUT",
                 2, "token 61 at 1 is not below the model's vocabulary of 61"},
        BadInput{"LongerThanTheModelsLimit", "score --model RECEIVER --tokens FOLDER/long.safetensors --out OUT", 2,
                 "257 tokens are more than the model's limit of 256"},
        BadInput{"PlanTwice",
                 "score --model RECEIVER --sender SENDER --tokens IN --out OUT --context 8 --plan 1,2,3 --plan 1,2,3",
                 2, "plan 1,2,3 is given twice"},
        BadInput{"OutputsOfOneName", "score --model RECEIVER --tokens IN --out OUT --dump-cache OUT", 2, "both name"},
        BadInput{"OutputIsADevice", "score --model RECEIVER --tokens IN --out FOLDER/null", 1, "no regular file"},
        BadInput{"NestedJson", "score --model FOLDER/deep --tokens IN --out OUT", 1, "config.json: nested deeper"},
        BadInput{"OutputFolderMissing", "score --model RECEIVER --tokens IN --out FOLDER/none/out.safetensors", 1,
                 "/none/out.safetensors"},
        BadInput{"UnknownKeyInTheFile", "score --config FOLDER/unknown.yaml --model RECEIVER --tokens IN --out OUT", 2,
                 "unknown.yaml:2"},
        BadInput{"UnknownDtype", "score --dtype fp8 --model RECEIVER --tokens IN --out OUT", 2, "--dtype"},
        BadInput{"OptionOfALaterVersion", "generate --model RECEIVER --tokens IN --profile FOLDER/p.json", 2,
                 "--profile"},
        BadInput{"TooManyToGenerate", "generate --model RECEIVER --tokens IN --max-tokens 9223372036854775807", 2,
                 "are more than the model's limit of 256"},
        BadInput{"NoTemperature", "generate --model RECEIVER --tokens IN --temperature nan", 2, "--temperature"},
        BadInput{"NoPrompt", "generate --model RECEIVER", 2, "--prompt"},
        BadInput{"TwoTensors", "generate --model RECEIVER --tokens FOLDER/two.safetensors", 1, "expected exactly one"},
        BadInput{"PromptWithoutTokenizer", "generate --model RECEIVER --prompt hello", 1, "tokenizer.json"},
        BadInput{"MoreToGenerateThanTheLimit", "generate --model RECEIVER --tokens IN --max-tokens 200", 2,
                 "61 tokens and 200 to generate are more than the model's limit of 256"},
        BadInput{"NoCommand", "", 2, "subcommand"}),
    [](const auto& info) { return std::string(info.param.name); });

TEST_F(CommandsTest, TokenizersThatDifferAreRefused) {
  const std::string tokenizers = DROIDSPEAK_TOKENIZER_TESTDATA;
  for (const auto& [model, kind] : {std::pair{kSender, "byte_level"}, std::pair{kReceiver, "byte_fallback"}}) {
    const std::string copy = folder_.path() + "/" + kind;
    std::filesystem::copy(model, copy);
    std::filesystem::copy(tokenizers + "/" + kind + "/tokenizer.json", copy + "/tokenizer.json");
  }
  const Outcome outcome = Score(absl::StrCat("--context 8 --plan 1,2,3 --sender ", folder_.path(),
                                             "/byte_level --model ", folder_.path(), "/byte_fallback"));
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.messages, HasSubstr("token"));
  EXPECT_FALSE(std::filesystem::exists(Out()));
}

TEST_F(CommandsTest, GenerateWithServersAnswersWithoutAWholeBlockAndAfterAWholeOwnPrefix) {
  const auto server = ServerProcess::Start("cache-0").value();
  const std::string common = absl::StrCat("generate --dtype fp32 --json --max-tokens 2 --ignore-eos --model ",
                                          kReceiver, " --tokens ", In(), " --sender ", kSender);
  const Outcome full = RunEngine(absl::StrCat(common, " --plan 4,4,4"));
  ASSERT_EQ(full.exit_code, 0) << full.messages;
  const auto tokens = nlohmann::json::parse(full.output).at("tokens");
  // 61 tokens are less than a block.
  const Outcome none = RunEngine(absl::StrCat(common, " --plan 1,2,3 --servers ", server->listen()));
  ASSERT_EQ(none.exit_code, 0) << none.messages;
  EXPECT_EQ(nlohmann::json::parse(none.output).at("tokens"), tokens);
  // The receiver's own blocks cover the context: what the plan says is not needed.
  const std::string with_blocks = absl::StrCat(common, " --block-tokens 8 --servers ", server->listen());
  ASSERT_EQ(RunEngine(with_blocks + " --plan 4,4,4").exit_code, 0);
  const Outcome own = RunEngine(with_blocks + " --plan 1,2,3");
  ASSERT_EQ(own.exit_code, 0) << own.messages;
  EXPECT_EQ(nlohmann::json::parse(own.output).at("tokens"), tokens);
}

TEST_F(CommandsTest, ScoreThroughAServerGivesTheSameLogits) {
  const auto server = ServerProcess::Start("cache-0").value();
  const std::string common = absl::StrCat("--all-positions --model ", kReceiver, " --sender ", kSender,
                                          " --context 40 --block-tokens 8 --plan 1,2,3 --runs 1-2,3-4 --plan 0,0,0");
  const Outcome outcome = Score(absl::StrCat(common, " --servers ", server->listen()));
  ASSERT_EQ(outcome.exit_code, 0) << outcome.messages;
  const auto goldens = ReadTensors(kData + "/goldens.safetensors");
  for (const auto& [name, values] : ReadTensors(Out())) {
    EXPECT_LE(MaxDifference(values, goldens.at(name)), kTolerance) << name;
  }
  const Outcome again =
      RunEngine(absl::StrCat("generate --dtype fp32 --json --max-tokens 2 --model ", kReceiver, " --sender ", kSender,
                             " --block-tokens 8 --plan 1,2,3 --tokens ", In(), " --servers ", server->listen()));
  ASSERT_EQ(again.exit_code, 0) << again.messages;
  EXPECT_EQ(nlohmann::json::parse(again.output).at("context_tokens"), 56);
}

}  // namespace
}  // namespace droidspeak
