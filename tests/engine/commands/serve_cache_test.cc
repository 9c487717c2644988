// SPDX-License-Identifier: Apache-2.0
// `serve` with a real cache server: engines of two models that read the same text.
#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "tests/engine/commands/engine_program.h"
#include "tests/engine/commands/serve_fixture.h"

namespace droidspeak {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

constexpr int64_t kBlockTokens = 16;

// A text of several blocks that both models read.
constexpr char kText[] =
    "The quick brown fox jumps over the lazy dog. The dog sleeps; the fox doesn't. A cache server keeps the keys and "
    "values of every layer, so that another model need not compute them again. Die Größe des Blocks ist "
    "zweihundertsechsundfünfzig. キャッシュサーバーは各層のキーと値を保存する。 The quick fox fetches every block of "
    "the cache.";

class ServeCacheTest : public ServeTest {
 protected:
  std::vector<std::string> WithServers(std::vector<std::string> more = {}) const {
    more.push_back("--servers=" + cache_->listen());
    more.push_back(absl::StrCat("--block-tokens=", kBlockTokens));
    return more;
  }

  // The base model answers, and all of it is on the server.
  json LetBaseAnswer(const std::string& prompt) {
    Serve(WithServers());
    json answer = Ask(kCompletions, Greedy(prompt));
    EXPECT_EQ(engine_->Terminate(), 0);
    return answer;
  }

  // The full blocks that two prompts have in common, in tokens; the last token is always computed.
  int64_t CommonContext(const std::string& first, const std::string& second) const {
    const std::vector<int32_t> a = Encode(first, true), b = Encode(second, true);
    const auto common = std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first - a.begin();
    return std::min<int64_t>(common, static_cast<int64_t>(b.size()) - 1) / kBlockTokens * kBlockTokens;
  }

  // How the tuned model's answer to a prompt was read.
  static json Reuse(const json& answer) { return answer.at("usage").at("droidspeak").at(0); }

  void ExpectPlanned(const json& answer, const std::string& prompt, int64_t context) const {
    const json reuse = Reuse(answer);
    EXPECT_EQ(reuse.at("plan"), "1,2,3");
    EXPECT_EQ(reuse.at("sender"), "base");  // its folder
    EXPECT_EQ(reuse.at("context_tokens"), context);
    EXPECT_EQ(reuse.at("own_tokens"), 0);
    EXPECT_GT(reuse.at("bytes").at("kv").get<int64_t>(), 0);
    EXPECT_GT(reuse.at("bytes").at("e").get<int64_t>(), 0);
    EXPECT_EQ(answer.at("usage").at("prompt_tokens_details").at("cached_tokens"), context);
    const json expected = Generate("tuned", Encode(prompt, true),
                                   absl::StrCat("--sender ", Path("base"), " --plan 1,2,3 --context ", context));
    EXPECT_EQ(TextOf(answer), expected.at("text").get<std::string>());
  }

  std::unique_ptr<ServerProcess> cache_ = ServerProcess::Start("cache-0").value();
};

// What two prompts have in common stands in the engine's own memory when the second is read, and ends within a block.
TEST_F(ServeCacheTest, PromptsThatBeginAlikeAreStoredWithoutAHole) {
  const std::string second = absl::StrCat("The quick brown fox swims. ", kText);
  const std::vector<int32_t> a = Encode(kText, true), b = Encode(second, true);
  ASSERT_NE((std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first - a.begin()) % kBlockTokens, 0);
  Serve(WithServers());
  Ask(kCompletions, Greedy(kText));
  Ask(kCompletions, Greedy(second));
  EXPECT_EQ(engine_->Terminate(), 0);

  Serve(WithServers());
  const auto blocks = (static_cast<int64_t>(b.size()) - 1) / kBlockTokens;
  EXPECT_EQ(Reuse(Ask(kCompletions, Greedy(second))).at("own_tokens"), blocks * kBlockTokens);
}

// The prompt stays in the engine's own memory; other engines would never find it again.
TEST_F(ServeCacheTest, WhatAServerLostIsComputedAndStoredAgain) {
  const std::string secret = Path("secret");
  std::ofstream(secret) << "0123456789abcdef";
  std::filesystem::permissions(secret, std::filesystem::perms::owner_read);
  const auto start = [&](const std::string& address) {
    cache_.reset();
    cache_ = ServerProcess::Start("cache-0", {"--cluster-secret-file=" + secret, "--listen=" + address}).value();
  };
  start("127.0.0.1:0");
  Serve(WithServers());
  Ask(kCompletions, Greedy(kText));
  start(std::string(cache_->listen()));
  const auto blocks = (static_cast<int64_t>(Encode(kText, true).size()) - 1) / kBlockTokens;
  const absl::Time limit = absl::Now() + absl::Minutes(2);
  while (Reuse(Ask(kCompletions, Greedy(kText))).at("own_tokens") != 0) ASSERT_LT(absl::Now(), limit);
  EXPECT_EQ(engine_->Terminate(), 0);
  Serve(WithServers());
  EXPECT_EQ(Reuse(Ask(kCompletions, Greedy(kText))).at("own_tokens"), blocks * kBlockTokens);
}

TEST_F(ServeCacheTest, WhatTheBaseModelReadServesThePlanOfTheTunedOneUntilTheServerIsGone) {
  const std::string read = absl::StrCat(kText, " Who keeps the keys?"), prompt = absl::StrCat(kText, " Which layer?");
  const int64_t context = CommonContext(read, prompt);
  ASSERT_GE(context, 4 * kBlockTokens);
  LetBaseAnswer(read);
  Serve(WithServers({"--sender=" + Path("base"), "--plan=1,2,3"}), "tuned");
  ExpectPlanned(Ask(kCompletions, Greedy(prompt)), prompt, context);
  EXPECT_EQ(Metric("reused_tokens_total{cache=\"sender\"}"), static_cast<double>(context));

  cache_->Kill();
  const json full = Ask(kCompletions, Greedy(prompt));
  EXPECT_EQ(Reuse(full).at("plan"), "full");
  EXPECT_TRUE(Reuse(full).at("sender").is_null());
  EXPECT_EQ(Reuse(full).at("context_tokens"), 0);
  EXPECT_EQ(TextOf(full), Generate("tuned", Encode(prompt, true)).at("text").get<std::string>());
}

TEST_F(ServeCacheTest, SendersAndPlansMayComeFromAConfigurationFile) {
  const std::string prompt = absl::StrCat(kText, " Which layer?");
  LetBaseAnswer(prompt);
  std::ofstream(Path("serve.yaml")) << "sender: " << Path("base") << "\nplan: 1,2,3\nservers: " << cache_->listen()
                                    << "\nblock-tokens: " << kBlockTokens << "\n";
  Serve({"--config=" + Path("serve.yaml")}, "tuned");
  ExpectPlanned(Ask(kCompletions, Greedy(prompt)), prompt, CommonContext(prompt, prompt));
}

TEST_F(ServeCacheTest, AnEngineThatIsStartedAgainReadsItsOwnBlocks) {
  const std::string prompt = absl::StrCat(kText, " Which layer?");
  const json first = LetBaseAnswer(prompt), second = LetBaseAnswer(prompt);
  EXPECT_EQ(Reuse(first).at("context_tokens"), 0);
  EXPECT_EQ(Reuse(second).at("plan"), "full");
  EXPECT_EQ(Reuse(second).at("context_tokens"), CommonContext(prompt, prompt));
  EXPECT_EQ(Reuse(second).at("own_tokens"), CommonContext(prompt, prompt));
  EXPECT_GT(Reuse(second).at("bytes").at("kv").get<int64_t>(), 0);
  EXPECT_EQ(TextOf(second), TextOf(first));
}

TEST_F(ServeCacheTest, APlanThatCanNotBeIsAUsageError) {
  const std::string common = absl::StrCat("serve --http 127.0.0.1:0 --dtype fp32 --model ", Path("tuned"),
                                          " --servers ", cache_->listen(), " --sender ", Path("base"));
  for (const char* plan : {"--plan 3,2,4", "--plan 1,2,5", "--runs 0-2,1-3", "--plan nonsense"}) {
    const Outcome outcome = RunEngine(absl::StrCat(common, " ", plan));
    EXPECT_EQ(outcome.exit_code, 2) << plan << ": " << outcome.messages;
    EXPECT_THAT(outcome.messages, HasSubstr(absl::StrCat(std::string(plan).substr(0, 6), ": "))) << plan;
  }
}

}  // namespace
}  // namespace droidspeak
