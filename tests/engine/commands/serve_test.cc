// SPDX-License-Identifier: Apache-2.0
// `serve` as its clients see it: what it answers.
#include <algorithm>
#include <cstddef>
#include <fstream>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "tests/engine/commands/serve_fixture.h"

namespace droidspeak {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr double kLeastLogprob = -9999;

// A drawn answer of some length; the same for the same seed.
json Drawn(const char* name, const json& prompt) {
  return {{name, prompt}, {"max_tokens", 64}, {"ignore_eos", true}, {"seed", 5}};
}

std::vector<std::string> Texts(const json& answer) {
  std::vector<std::string> texts;
  for (size_t i = 0; i < answer.at("choices").size(); ++i) texts.push_back(TextOf(answer, static_cast<int64_t>(i)));
  return texts;
}

std::string FinishReason(const json& answer) {
  return answer.at("choices").at(0).at("finish_reason").get<std::string>();
}

int64_t Usage(const json& answer, const char* name) {
  return answer.at("usage").at(name).get<int64_t>();
}

int64_t CachedTokens(const json& answer) {
  return answer.at("usage").at("prompt_tokens_details").at("cached_tokens").get<int64_t>();
}

// Characters [first, first + count) of UTF-8.
std::string Characters(const std::string& text, int first, int count) {
  std::string taken;
  int index = -1;
  for (const char byte : text) {
    if ((static_cast<unsigned char>(byte) & 0xC0) != 0x80) ++index;
    if (index >= first && index < first + count) taken += byte;
  }
  return taken;
}

TEST_F(ServeTest, ModelHealthAndMetricsTellOfTheEngine) {
  Serve();
  EXPECT_EQ(engine_->model(), "base");
  EXPECT_EQ(engine_->max_tokens(), kPositions);
  const json models = json::parse(Get("/v1/models").body);
  ASSERT_EQ(models.at("data").size(), 1u);
  EXPECT_EQ(models.at("data").at(0).at("id"), "base");
  EXPECT_EQ(models.at("data").at(0).at("max_model_len"), kPositions);
  for (const char* path : {"/health", "/livez", "/readyz"}) {
    const HttpAnswer answer = Get(path);
    EXPECT_EQ(answer.status, 200) << path;
    EXPECT_EQ(answer.body, "ok\n") << path;
  }
  Ask(kCompletions, Greedy(kPrompt));
  const std::string metrics = Get("/metrics").body;
  for (const char* line :
       {"requests_total{outcome=\"length\"} 1\n", "requests_total{outcome=\"stop\"} 0\n",
        "requests_total{outcome=\"cancelled\"} 0\n", "requests_total{outcome=\"failed\"} 0\n",
        "requests_total{outcome=\"rejected\"} 0\n", "ttft_seconds_count 1\n", "tpot_seconds_count 23\n",
        "recomputed_layers_sum 4\n", "reused_tokens_total{cache=\"own\"} 0\n", "queue_length "}) {
    EXPECT_THAT(metrics, HasSubstr(absl::StrCat("\ndroidspeak_engine_", line)));
  }
}

TEST_F(ServeTest, AServedNameMayBeChosen) {
  Serve({"--served-model-name=acme/tiny"});
  EXPECT_EQ(engine_->model(), "acme/tiny");
  EXPECT_EQ(json::parse(Get("/v1/models").body).at("data").at(0).at("id"), "acme/tiny");
  EXPECT_EQ(Ask(kCompletions, Greedy(kPrompt)).at("model"), "acme/tiny");
}

TEST_F(ServeTest, TheModelOfARequestChoosesAnAdapter) {
  Serve({"--adapter=north=" + Path("north"), "--adapter=acme/south=" + Path("south")});
  const json models = json::parse(Get("/v1/models").body).at("data");
  ASSERT_EQ(models.size(), 3u);
  EXPECT_EQ(models.at(0).at("id"), "base");
  EXPECT_EQ(models.at(2).at("id"), "acme/south");
  for (const char* const path : {"/v1/models/acme/south", "/v1/models/acme%2Fsouth", "/v1/models/%61cme%2fsouth?x=%"}) {
    EXPECT_EQ(json::parse(Get(path).body).at("id"), "acme/south") << path;
  }
  std::set<std::string> texts;
  for (const auto& [name, folder] : {std::pair("base", "base"), std::pair("north", "base+north"),
                                     std::pair("acme/south", "base+south"), std::pair("north", "base+north")}) {
    const std::vector<std::string> parts = absl::StrSplit(folder, '+');
    const std::string model = parts.size() == 1 ? parts[0] : absl::StrCat(parts[0], "+", Path(parts[1]));
    json fields = Greedy(kPrompt);
    fields["model"] = name;
    const json answer = Ask(kCompletions, fields);
    EXPECT_EQ(answer.at("model"), name);
    EXPECT_EQ(TextOf(answer), Generate(model, Encode(kPrompt, true)).at("text").get<std::string>()) << name;
    texts.insert(TextOf(answer));
  }
  EXPECT_EQ(texts.size(), 3u);
}

TEST_F(ServeTest, GreedyCompletionsAreThoseOfGenerate) {
  const std::vector<int32_t> ids = Encode(kPrompt, /*add_special_tokens=*/true);
  const auto length = static_cast<int64_t>(ids.size());
  const std::string expected = Generate("base", ids).at("text").get<std::string>();
  Serve();
  const json first = Ask(kCompletions, Greedy(kPrompt));
  EXPECT_EQ(TextOf(first), expected);
  EXPECT_EQ(first.at("object"), "text_completion");
  EXPECT_EQ(FinishReason(first), "length");
  EXPECT_EQ(Usage(first, "prompt_tokens"), length);
  EXPECT_EQ(Usage(first, "completion_tokens"), kAnswerTokens);
  EXPECT_EQ(Usage(first, "total_tokens"), length + kAnswerTokens);
  EXPECT_EQ(CachedTokens(first), 0);
  EXPECT_EQ(first.at("usage").at("droidspeak").at(0).at("plan"), "full");
  // The same again, which is read from the slab but for its last token.
  for (const json& prompt : {json(kPrompt), json(ids)}) {
    const json again = Ask(kCompletions, Greedy(prompt));
    EXPECT_EQ(TextOf(again), expected);
    EXPECT_EQ(CachedTokens(again), length - 1);
  }
  // Two prompts of one request.
  const json both = Ask(kCompletions, Greedy(json::array({kPrompt, "A cache server keeps the keys"})));
  EXPECT_EQ(TextOf(both, 0), expected);
  EXPECT_EQ(TextOf(both, 1), TextOf(Ask(kCompletions, Greedy("A cache server keeps the keys"))));
}

TEST_F(ServeTest, AnAnswerEndsAtAnEndOfSequenceTokenUnlessItIsIgnored) {
  const std::vector<int32_t> prompt = Encode(kPrompt, /*add_special_tokens=*/true);
  const json whole = Generate("base", prompt);
  const auto tokens = whole.at("tokens").get<std::vector<int32_t>>();
  ASSERT_EQ(tokens.size(), static_cast<size_t>(kAnswerTokens));
  // The last one that is not there before.
  size_t end = 0;
  for (size_t i = 1; i < tokens.size(); ++i) {
    const auto at = tokens.begin() + static_cast<std::ptrdiff_t>(i);
    if (std::find(tokens.begin(), at, *at) == at) end = i;
  }
  std::ofstream(Path("base") + "/generation_config.json") << absl::StrCat("{\"eos_token_id\": [", tokens[end], "]}");
  Serve();
  json body = Greedy(kPrompt);
  EXPECT_EQ(TextOf(Ask(kCompletions, body)), whole.at("text").get<std::string>());
  body["ignore_eos"] = false;
  const json answer = Ask(kCompletions, body);
  EXPECT_EQ(TextOf(answer), Decode({tokens.begin(), tokens.begin() + static_cast<std::ptrdiff_t>(end)}));
  EXPECT_EQ(FinishReason(answer), "stop");
  EXPECT_EQ(Usage(answer, "completion_tokens"), static_cast<int64_t>(end) + 1);
  EXPECT_EQ(Metric("requests_total{outcome=\"stop\"}"), 1);
}

TEST_F(ServeTest, ChatAnswersTheConversationAsTheTemplateRendersIt) {
  json messages = json::array({{{"role", "system"}, {"content", "Be brief."}}});
  messages.push_back(Turn("Which keys does the cache keep?").at(0));
  const std::vector<int32_t> ids =
      Encode("<s>system: Be brief.<|end|><s>user: Which keys does the cache keep?<|end|><s>assistant:", false);
  const std::string expected = Generate("base", ids).at("text").get<std::string>();
  Serve();
  const json answer =
      Ask(kChat,
          {{"messages", messages}, {"temperature", 0}, {"max_completion_tokens", kAnswerTokens}, {"ignore_eos", true}});
  EXPECT_EQ(TextOf(answer), expected);
  EXPECT_EQ(answer.at("object"), "chat.completion");
  EXPECT_EQ(answer.at("choices").at(0).at("message").at("role"), "assistant");
  EXPECT_EQ(FinishReason(answer), "length");
  EXPECT_EQ(Usage(answer, "prompt_tokens"), static_cast<int64_t>(ids.size()));
  EXPECT_EQ(Usage(answer, "completion_tokens"), kAnswerTokens);
  EXPECT_EQ(TextOf(Ask(kCompletions, Greedy(ids))), expected);
}

TEST_F(ServeTest, AStreamGivesTheTextAndUsageOfTheWholeAnswer) {
  Serve();
  for (const char* path : {kCompletions, kChat}) {
    const bool chat = path == std::string(kChat);
    json body = chat ? Drawn("messages", Turn(kPrompt)) : Drawn("prompt", kPrompt);
    Ask(path, body);  // from now on the prompt is in the slab
    const json whole = Ask(path, body);
    body["stream_options"]["include_usage"] = true;
    const auto stream = Stream(path, body);
    stream->ReadAll();
    EXPECT_TRUE(stream->done()) << path;
    EXPECT_EQ(stream->text(), TextOf(whole)) << path;
    EXPECT_EQ(stream->finish_reason(), "length") << path;
    const HttpAnswer answer = stream->answer();
    EXPECT_THAT(answer.headers.at("content-type"), StartsWith("text/event-stream"));
    ASSERT_GT(stream->chunks().size(), 2u) << path;
    const json &first = stream->chunks().front(), &last = stream->chunks().back();
    if (chat) {
      EXPECT_EQ(first.at("choices").at(0).at("delta").at("role"), "assistant");
    }
    EXPECT_TRUE(first.at("usage").is_null()) << first;
    EXPECT_TRUE(last.at("choices").empty()) << last;
    EXPECT_EQ(last.at("usage"), whole.at("usage")) << path;
    for (const json& chunk : stream->chunks()) EXPECT_EQ(chunk.at("id"), first.at("id"));
  }
}

TEST_F(ServeTest, SeveralAnswersDifferAndAreTheSameAgainWithTheirSeed) {
  Serve();
  json body = Drawn("prompt", kPrompt);
  body["n"] = 3;
  const json first = Ask(kCompletions, body);
  const std::vector<std::string> texts = Texts(first);
  ASSERT_EQ(texts.size(), 3u);
  EXPECT_NE(texts[0], texts[1]);
  EXPECT_NE(texts[1], texts[2]);
  EXPECT_NE(texts[0], texts[2]);
  EXPECT_EQ(Usage(first, "completion_tokens"), 3 * 64);
  EXPECT_EQ(Texts(Ask(kCompletions, body)), texts);
  const auto stream = Stream(kCompletions, body);
  stream->ReadAll();
  EXPECT_TRUE(stream->done());
  for (int64_t i = 0; i < 3; ++i) EXPECT_EQ(stream->text(i), texts[static_cast<size_t>(i)]) << i;
  body["seed"] = 500;
  EXPECT_NE(Texts(Ask(kCompletions, body)), texts);
}

TEST_F(ServeTest, AStopStringEndsTheAnswerBeforeIt) {
  Serve();
  json body = Drawn("prompt", kPrompt);
  const std::string text = TextOf(Ask(kCompletions, body));
  const std::string stop = Characters(text, 12, 3);
  ASSERT_FALSE(Characters(stop, 2, 1).empty()) << "'" << text << "' is too short";
  const std::string expected = text.substr(0, text.find(stop));
  for (const json& stops : {json(stop), json::array({"never to be seen", stop})}) {
    body["stop"] = stops;
    const json answer = Ask(kCompletions, body);
    EXPECT_EQ(TextOf(answer), expected);
    EXPECT_EQ(FinishReason(answer), "stop");
    EXPECT_LE(Usage(answer, "completion_tokens"), 64);
    const auto stream = Stream(kCompletions, body);
    stream->ReadAll();
    EXPECT_TRUE(stream->done());
    EXPECT_EQ(stream->text(), expected);
    EXPECT_EQ(stream->finish_reason(), "stop");
  }
}

TEST_F(ServeTest, CompletionsTellTheLogprobsOfEachToken) {
  Serve();
  json body = Greedy(kPrompt);
  body["logprobs"] = 3;
  const json logprobs = Ask(kCompletions, body).at("choices").at(0).at("logprobs");
  const json &tokens = logprobs.at("tokens"), &values = logprobs.at("token_logprobs"),
             &tops = logprobs.at("top_logprobs"), &offsets = logprobs.at("text_offset");
  for (const json* list : {&tokens, &values, &tops, &offsets}) {
    ASSERT_EQ(list->size(), static_cast<size_t>(kAnswerTokens));
  }
  for (size_t i = 0; i < tokens.size(); ++i) {
    ASSERT_TRUE(values.at(i).is_number());
    const auto value = values.at(i).get<double>();
    EXPECT_TRUE(value > kLeastLogprob && value <= 0) << value;
    // The likeliest of them is the one taken; those of one spelling count once.
    EXPECT_EQ(tops.at(i).at(tokens.at(i).get<std::string>()), values.at(i));
    EXPECT_TRUE(!tops.at(i).empty() && tops.at(i).size() <= 4) << tops.at(i);
    for (const auto& [text, top] : tops.at(i).items()) EXPECT_LE(top.get<double>(), value) << text;
    if (i > 0) {
      EXPECT_GE(offsets.at(i).get<int64_t>(), offsets.at(i - 1).get<int64_t>());
    }
  }
  EXPECT_EQ(offsets.at(0), 0);
  const auto stream = Stream(kCompletions, body);
  stream->ReadAll();
  json streamed = json::array();
  for (const json& chunk : stream->chunks()) {
    for (const json& value : chunk.at("choices").at(0).at("logprobs").at("token_logprobs")) streamed.push_back(value);
  }
  EXPECT_EQ(streamed.size(), values.size());
}

TEST_F(ServeTest, ChatTellsTheLogprobsOfEachToken) {
  Serve();
  const json answer = Ask(kChat, {{"messages", Turn(kPrompt)},
                                  {"temperature", 0},
                                  {"max_completion_tokens", kAnswerTokens},
                                  {"ignore_eos", true},
                                  {"logprobs", true},
                                  {"top_logprobs", 2}});
  const json& content = answer.at("choices").at(0).at("logprobs").at("content");
  ASSERT_EQ(content.size(), static_cast<size_t>(kAnswerTokens));
  for (const json& token : content) {
    ASSERT_TRUE(token.at("logprob").is_number()) << token;
    const auto value = token.at("logprob").get<double>();
    EXPECT_TRUE(value > kLeastLogprob && value <= 0) << token;
    EXPECT_TRUE(token.at("token").is_string()) << token;
    ASSERT_EQ(token.at("top_logprobs").size(), 2u) << token;
    EXPECT_EQ(token.at("top_logprobs").at(0).at("logprob"), token.at("logprob")) << token;
    EXPECT_LE(token.at("top_logprobs").at(1).at("logprob").get<double>(), value) << token;
  }
}

}  // namespace
}  // namespace droidspeak
