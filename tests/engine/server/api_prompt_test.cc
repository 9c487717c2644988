// SPDX-License-Identifier: Apache-2.0
#include "engine/server/api_prompt.h"

#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/engine/server/api_bodies.h"

namespace droidspeak {
namespace {

using ::testing::ElementsAre;

TEST(ApiPromptTest, PromptsAreTextsOrTokenIds) {
  using Ids = std::vector<int32_t>;
  EXPECT_THAT(Parsed(kCompletions, R"("prompt": "")").prompts, ElementsAre(ApiPrompt("")));
  EXPECT_THAT(Parsed(kCompletions, R"("prompt": ["a", ""])").prompts, ElementsAre(ApiPrompt("a"), ApiPrompt("")));
  EXPECT_THAT(Parsed(kCompletions, R"("prompt": [0, 2147483647])").prompts, ElementsAre(ApiPrompt(Ids{0, 2147483647})));
  EXPECT_THAT(Parsed(kCompletions, R"("prompt": [[1, 2], [3]])").prompts,
              ElementsAre(ApiPrompt(Ids{1, 2}), ApiPrompt(Ids{3})));
}

TEST(ApiPromptTest, RefusesOtherPrompts) {
  const std::vector<std::pair<std::string, std::string>> cases = {{"null", "prompt"},
                                                                  {"5", "prompt"},
                                                                  {"{}", "prompt"},
                                                                  {"[]", "prompt"},
                                                                  {"[[]]", "prompt[0]"},
                                                                  {"[[1], []]", "prompt[1]"},
                                                                  {"[null]", "prompt[0]"},
                                                                  {"[{}]", "prompt[0]"},
                                                                  {"[true]", "prompt[0]"},
                                                                  {"[1, \"a\"]", "prompt[1]"},
                                                                  {"[\"a\", 1]", "prompt[1]"},
                                                                  {"[1, -1]", "prompt[1]"},
                                                                  {"[1.0]", "prompt[0]"},
                                                                  {"[2147483648]", "prompt[0]"},
                                                                  {"[[1], \"a\"]", "prompt[1]"},
                                                                  {"[\"a\", [1]]", "prompt[1]"},
                                                                  {"[[1, 1e3]]", "prompt[0][1]"},
                                                                  {"[[1, [2]]]", "prompt[0][1]"}};
  for (const auto& [prompt, param] : cases) {
    ExpectRefused(kCompletions, absl::StrCat("\"prompt\":", prompt), param, "expected ");
  }
  ExpectRefusedBody(kCompletions, R"({"model": "m"})", "prompt", "missing");
}

TEST(ApiPromptTest, PromptsAndChoicesAreLimited) {
  const std::string most = absl::StrCat("\"prompt\":", List<std::string>(kMostPrompts, "a"));
  EXPECT_EQ(std::ssize(Parsed(kCompletions, most).prompts), kMostPrompts);
  EXPECT_EQ(Parsed(kCompletions, absl::StrCat("\"n\":", kMostChoices)).n, kMostChoices);
  ExpectRefused(kCompletions, most + ", \"n\": 2", "n", "2 answers to each of 128 prompts; expected at most 128");
  ExpectRefused(kCompletions, absl::StrCat("\"prompt\":", List<std::string>(kMostPrompts + 1, "a")), "prompt",
                "129 prompts; expected at most 128");
}

// The only message that is made of this one.
std::string Message(const std::string& message) {
  const ApiRequest request = Parsed(kChat, Messages(message));
  return request.messages.is_array() && request.messages.size() == 1 ? request.messages[0].dump() : "";
}

TEST(ApiPromptTest, ContentsBecomeStrings) {
  EXPECT_EQ(Message(R"({"role":"user","content":""})"), R"({"role":"user","content":""})");
  EXPECT_EQ(Message(R"({"role":"assistant","content":null})"), R"({"role":"assistant","content":""})");
  EXPECT_EQ(Message(R"({"role":"user","content":[{"type":"text","text":"a"}]})"), R"({"role":"user","content":"a"})");
  EXPECT_EQ(Message(R"({"content":[{"type":"text","text":"a"},{"text":"","type":"text","x":null},
                                   {"type":"text","text":"ä"}],"role":"system"})"),
            R"({"content":"a\n\nä","role":"system"})");
}

TEST(ApiPromptTest, OtherFieldsOfMessagesAreKept) {
  EXPECT_EQ(Message(R"({"role":"tool","content":"a","name":"b","tool_call_id":null,"x":{"z":1,"y":[2.0]}})"),
            R"({"role":"tool","content":"a","name":"b","tool_call_id":null,"x":{"z":1,"y":[2.0]}})");
}

TEST(ApiPromptTest, MessagesWithoutCallsDoNotSpeakOfThem) {
  const std::string plain = R"({"role":"assistant","content":"a"})";
  EXPECT_EQ(Message(R"({"role":"assistant","tool_calls":[],"content":"a","function_call":null})"), plain);
  EXPECT_EQ(Message(R"({"tool_calls":null,"role":"assistant","content":"a"})"), plain);
}

TEST(ApiPromptTest, KeepsTheOrderOfMessages) {
  const ApiRequest request =
      Parsed(kChat, Messages(R"({"role":"system","content":"a"},{"role":"user","content":"b"})"));
  ASSERT_EQ(request.messages.size(), 2u);
  EXPECT_EQ(request.messages[0]["content"], "a");
  EXPECT_EQ(request.messages[1]["content"], "b");
  EXPECT_TRUE(request.prompts.empty());
}

TEST(ApiPromptTest, RefusesOtherMessages) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {R"(5)", "messages[0]"},
      {R"({"role":"user","content":"a"}, [])", "messages[1]"},
      {R"({"content":"a"})", "messages[0].role"},
      {R"({"role":1,"content":"a"})", "messages[0].role"},
      {R"({"role":"user"})", "messages[0].content"},
      {R"({"role":"user","content":5})", "messages[0].content"},
      {R"({"role":"user","content":{}})", "messages[0].content"},
      {R"({"role":"user","content":[]})", "messages[0].content"},
      {R"({"role":"user","content":["a"]})", "messages[0].content[0]"},
      {R"({"role":"user","content":[{"text":"a"}]})", "messages[0].content[0].type"},
      {R"({"role":"user","content":[{"type":"text"}]})", "messages[0].content[0].text"},
      {R"({"role":"user","content":[{"type":"text","text":1}]})", "messages[0].content[0].text"},
      {R"({"role":"user","content":[{"type":"text","text":"a"},{"type":"image_url","image_url":{"url":"x"}}]})",
       "messages[0].content[1].type"},
      {R"({"role":"assistant","content":"a","tool_calls":[{"id":"x"}]})", "messages[0].tool_calls"},
      {R"({"role":"assistant","content":"a","function_call":{}})", "messages[0].function_call"}};
  for (const auto& [message, param] : cases) ExpectRefused(kChat, Messages(message), param, "expected ");
  ExpectRefused(kChat, Messages(R"({"role":"user","content":[{"type":"text","text":"a","b":1}]})"),
                "messages[0].content[0].b", "unknown field");
  for (const char* messages : {"[]", "{}", "\"a\""}) {
    ExpectRefused(kChat, absl::StrCat("\"messages\":", messages), "messages", "a list of one or more messages");
  }
  ExpectRefused(kChat, R"("messages": null)", "messages", "missing");
  ExpectRefusedBody(kChat, R"({"model": "m"})", "messages", "missing");
}

TEST(ApiPromptTest, LongTextsAreNotInMessages) {
  const absl::Status status =
      ParseApiRequest(kChat, Body(kChat, absl::StrCat("\"messages\":\"", std::string(61, 's'), "\""))).status();
  EXPECT_EQ(status.message(), "messages: expected a list of one or more messages, not a long string");
}

}  // namespace
}  // namespace droidspeak
