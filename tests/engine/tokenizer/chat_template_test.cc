// SPDX-License-Identifier: Apache-2.0
// Conversations as transformers renders them (make_chat_goldens.py).
#include "engine/tokenizer/chat_template.h"

#include <filesystem>
#include <fstream>
#include <map>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/base/files.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/support/server_process.h"

namespace droidspeak {
namespace {

using Json = nlohmann::ordered_json;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;

constexpr uint64_t kMaxBytes = 1 << 20;

std::string Data(const std::string& name) {
  return ReadFile(absl::StrCat(TEST_DATA, "/chat/", name), kMaxBytes).value();
}

// The folder of a model with some of these files.
class ChatTemplateTest : public ::testing::Test {
 protected:
  void Write(const std::string& name, const std::string& text) { std::ofstream(path() / name) << text; }
  [[nodiscard]] absl::StatusOr<std::unique_ptr<ChatTemplate>> Load() const { return ChatTemplate::Load(path()); }
  [[nodiscard]] std::filesystem::path path() const { return folder_.path(); }

  // What the template makes of one turn.
  std::string Rendered(const std::string& text, const std::string& content = "Hello") {
    Write("chat_template.jinja", text);
    const absl::StatusOr<std::string> rendered =
        Load().value()->Render({{{"role", "user"}, {"content", content}}}, true);
    EXPECT_TRUE(rendered.ok()) << rendered.status();
    return rendered.value_or("");
  }

 private:
  TemporaryFolder folder_;
};

TEST_F(ChatTemplateTest, ConversationsEqualTransformers) {
  const Json goldens = Json::parse(Data("goldens.json"));
  Write("tokenizer_config.json", goldens["tokens"].dump());
  std::map<std::string, std::unique_ptr<ChatTemplate>> templates;
  for (const Json& one : goldens["cases"]) {
    const auto name = one["template"].get<std::string>();
    if (!templates.contains(name)) {
      Write("chat_template.jinja", Data(name + ".jinja"));
      templates[name] = Load().value();
    }
    const absl::StatusOr<std::string> rendered =
        templates[name]->Render(one["messages"], one["add_generation_prompt"].get<bool>());
    if (one["text"].is_null()) {
      EXPECT_EQ(rendered.status().code(), absl::StatusCode::kInvalidArgument) << name << " " << one["messages"];
    } else {
      ASSERT_TRUE(rendered.ok()) << name << " " << one["messages"] << ": " << rendered.status();
      EXPECT_EQ(*rendered, one["text"].get<std::string>()) << name << " " << one["messages"];
    }
  }
  EXPECT_GE(templates.size(), 6u);
}

TEST_F(ChatTemplateTest, JsonIsPythons) {
  EXPECT_EQ(Rendered("{{ {'b': [1, 2.0, none, true], 'a': 'ä<'} | tojson }}"),
            R"({"b": [1, 2.0, null, true], "a": "ä<"})");
  EXPECT_EQ(Rendered("{{ {'b': 1, 'a': {'d': 1, 'c': 2}} | tojson(sort_keys=true) }}"),
            R"({"a": {"c": 2, "d": 1}, "b": 1})");
  EXPECT_EQ(Rendered("{{ 'ä😀' | tojson(ensure_ascii=true) }}"), "\"\\u00e4\\ud83d\\ude00\"");
  EXPECT_EQ(Rendered("{{ [1, {'a': []}] | tojson(indent=2) }}"), "[\n  1,\n  {\n    \"a\": []\n  }\n]");
}

TEST_F(ChatTemplateTest, TheClockIsLocal) {
  EXPECT_THAT(Rendered("{{ strftime_now('%Y-%m-%d') }}"), MatchesRegex("20[0-9][0-9]-[01][0-9]-[0-3][0-9]"));
}

TEST_F(ChatTemplateTest, TemplatesStandInOneOfTwoPlaces) {
  EXPECT_EQ(Load().status().code(), absl::StatusCode::kNotFound);
  Write("tokenizer_config.json", R"({"chat_template": "{{ bos_token }}config", "bos_token": {"content": "<b>"}})");
  EXPECT_EQ(Load().value()->Render(Json::array(), false).value(), "<b>config");
  Write(
      "tokenizer_config.json",
      R"({"chat_template": [{"name": "tool_use", "template": "t"}, {"name": "default", "template": "d{{ bos_token }}"}]})");
  EXPECT_EQ(Load().value()->Render(Json::array(), false).value(), "d") << "no such token";
  Write("chat_template.jinja", "file");
  EXPECT_EQ(Load().value()->Render(Json::array(), false).value(), "file");
}

TEST_F(ChatTemplateTest, BadFilesAreRefusedNamingThem) {
  for (const char* bad :
       {"[", "[]", R"({"chat_template": 3})", R"({"chat_template": [{"name": "other", "template": "x"}]})",
        R"({"chat_template": [{"name": "default", "template": 3}]})"}) {
    Write("tokenizer_config.json", bad);
    EXPECT_EQ(Load().status().code(), absl::StatusCode::kInvalidArgument) << bad;
    EXPECT_THAT(std::string(Load().status().message()), HasSubstr("tokenizer_config.json")) << bad;
  }
  Write("tokenizer_config.json", "{}");
  Write("chat_template.jinja", "one\n{% if %}");
  EXPECT_THAT(std::string(Load().status().message()), AllOf(HasSubstr("chat_template.jinja"), HasSubstr(":2")));
}

TEST_F(ChatTemplateTest, TroubleWhileRenderingIsAMessage) {
  for (const char* bad : {"{{ raise_exception('not like this') }}", "{{ messages[0].content + 1 }}", "{{ unknown() }}",
                          "{{ 1 | tojson(odd=1) }}",
                          "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}"}) {
    Write("chat_template.jinja", bad);
    const absl::Status status = Load().value()->Render({{{"role", "user"}, {"content", "x"}}}, true).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << bad;
    EXPECT_THAT(std::string(status.message()), HasSubstr("chat template")) << bad;
  }
  EXPECT_EQ(Rendered("{{ messages[0].content }}", "{{ 1 + 1 }}"), "{{ 1 + 1 }}") << "what users write is no template";
  EXPECT_EQ(Rendered("{{ messages[0].content }}", "\xff"), "\uFFFD") << "not UTF-8";
}

}  // namespace
}  // namespace droidspeak
