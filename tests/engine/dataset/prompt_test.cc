// SPDX-License-Identifier: Apache-2.0
#include "engine/dataset/prompt.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace droidspeak {
namespace {

using testing::HasSubstr;

std::string ErrorOf(std::string_view json) {
  return std::string(PromptTemplate::Parse(json, "prompt.json").status().message());
}

Sample Question() {
  Sample sample;
  sample.id = "q1";
  sample.context = "A {input} document.";
  sample.input = "Who?";
  sample.dataset = "hotpotqa";
  return sample;
}

TEST(PromptTemplate, PlaceholdersBecomeFieldsOnce) {
  const PromptTemplate prompt =
      PromptTemplate::Parse(R"({"context":"{context}","suffix":" {input}","max_new_tokens":32,"stop":["\n"]})", "p")
          .value();
  EXPECT_EQ(prompt.Context(Question()), "A {input} document.");  // a field's braces mean nothing
  EXPECT_EQ(prompt.Suffix(Question()), " Who?");
  EXPECT_EQ(prompt.max_new_tokens(), 32);
  EXPECT_EQ(prompt.stop(), std::vector<std::string>{"\n"});
}

TEST(PromptTemplate, DoubledBracesBecomeBraces) {
  const PromptTemplate prompt =
      PromptTemplate::Parse(R"({"context":"{{{dataset}}} {_id}","suffix":"{{}}","max_new_tokens":1})", "p").value();
  EXPECT_EQ(prompt.Context(Question()), "{hotpotqa} q1");
  EXPECT_EQ(prompt.Suffix(Question()), "{}");
  EXPECT_TRUE(prompt.stop().empty());
}

TEST(PromptTemplate, UnknownKeyIsNamed) {
  EXPECT_THAT(ErrorOf(R"({"context":"","suffix":"","max_new_tokens":1,"stops":[]})"),
              HasSubstr("prompt.json: unknown key \"stops\""));
}

TEST(PromptTemplate, UnknownPlaceholderIsNamed) {
  EXPECT_THAT(ErrorOf(R"({"context":"{context}","suffix":"{question}","max_new_tokens":1})"),
              HasSubstr("prompt.json: suffix: unknown placeholder {question}"));
  EXPECT_THAT(ErrorOf(R"({"context":"{answers}","suffix":"","max_new_tokens":1})"), HasSubstr("{answers}"));
}

TEST(PromptTemplate, SingleBraceIsRefused) {
  EXPECT_THAT(ErrorOf(R"({"context":"a } b","suffix":"","max_new_tokens":1})"), HasSubstr("context: a single '}'"));
  EXPECT_THAT(ErrorOf(R"({"context":"a { b","suffix":"","max_new_tokens":1})"), HasSubstr("context: a single '{'"));
}

TEST(PromptTemplate, MissingKeysAndWrongTypesAreNamed) {
  EXPECT_THAT(ErrorOf(R"({"suffix":"","max_new_tokens":1})"), HasSubstr("context: expected a string"));
  EXPECT_THAT(ErrorOf(R"({"context":"","suffix":3,"max_new_tokens":1})"), HasSubstr("suffix: expected a string"));
  for (const char* value : {"0", "-1", "1.5", "\"8\"", "null", "18446744073709551615"}) {
    EXPECT_THAT(ErrorOf(std::string(R"({"context":"","suffix":"","max_new_tokens":)") + value + "}"),
                HasSubstr("max_new_tokens: expected a whole number from 1"))
        << value;
  }
  for (const char* value : {"\"a\"", "[\"\"]", "[1]", "null"}) {
    EXPECT_THAT(ErrorOf(std::string(R"({"context":"","suffix":"","max_new_tokens":1,"stop":)") + value + "}"),
                HasSubstr("stop: expected a list"))
        << value;
  }
}

TEST(PromptTemplate, NoJsonObjectIsRefused) {
  EXPECT_EQ(ErrorOf(R"({"context":)"), "prompt.json: expected a JSON object");
  EXPECT_EQ(ErrorOf("[]"), "prompt.json: expected a JSON object");
}

TEST(PromptTemplate, MissingFileIsNamed) {
  const absl::Status status = PromptTemplate::Load("/nowhere/prompt.json").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()), HasSubstr("/nowhere/prompt.json"));
}

}  // namespace
}  // namespace droidspeak
