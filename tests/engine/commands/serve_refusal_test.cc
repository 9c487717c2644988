// SPDX-License-Identifier: Apache-2.0
// What `serve` refuses, and in which words: requests of clients, and options.
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "gmock/gmock.h"
#include "tests/engine/commands/engine_program.h"
#include "tests/engine/commands/serve_fixture.h"

namespace droidspeak {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

// OpenAI's body of an error; an empty `param` or `code` is null there.
void ExpectError(const HttpAnswer& answer, int status, const std::string& type, const std::string& param,
                 const std::string& code, const std::string& message) {
  EXPECT_EQ(answer.status, status) << answer.body;
  const json body = json::parse(answer.body, nullptr, /*allow_exceptions=*/false);
  ASSERT_TRUE(body.is_object() && body.contains("error")) << answer.body;
  EXPECT_THAT(answer.headers.at("content-type"), StartsWith("application/json"));
  const json& error = body.at("error");
  EXPECT_THAT(error.at("message").get<std::string>(), HasSubstr(message));
  EXPECT_EQ(error.at("type").get<std::string>(), type);
  EXPECT_EQ(error.at("param"), param.empty() ? json() : json(param)) << answer.body;
  EXPECT_EQ(error.at("code"), code.empty() ? json() : json(code)) << answer.body;
}

HttpAnswer PostText(const std::string& address, const std::string& path, const std::string& body) {
  return HttpCall(address, {.path = path, .method = "POST", .body = body, .headers = {}}).Whole();
}

struct BadRequest {
  const char* path;
  const char* body;
  const char* param;    // "": null
  const char* message;  // a part of it
};

constexpr BadRequest kBadRequests[] = {
    {kCompletions, R"({"model": "base", "prompt": "x")", "", "JSON"},
    {kCompletions, "not even an object", "", "JSON"},
    {kCompletions, R"(["base", "x"])", "", "JSON object"},
    {kCompletions, R"({"prompt": "x"})", "model", "missing"},
    {kCompletions, R"({"model": "base"})", "prompt", "missing"},
    {kCompletions, R"({"model": "base", "prompt": []})", "prompt", "prompt"},
    {kCompletions, R"({"model": "base", "prompt": "x", "nonsense": 1})", "nonsense", "unknown field"},
    {kCompletions, R"({"model": "base", "prompt": "x", "temperature": 3})", "temperature", "0 to 2"},
    {kCompletions, R"({"model": "base", "prompt": "x", "top_p": 0})", "top_p", "top_p"},
    {kCompletions, R"({"model": "base", "prompt": "x", "echo": true})", "echo", "echo"},
    {kCompletions, R"({"model": "base", "prompt": "x", "n": 129})", "n", "128"},
    {kCompletions, R"({"model": "base", "prompt": "x", "max_tokens": 0})", "max_tokens", "max_tokens"},
    {kCompletions, R"({"model": "base", "prompt": "x", "max_tokens": 131072})", "max_tokens", "131072"},
    {kCompletions, R"({"model": "base", "prompt": "x", "max_tokens": 100000, "n": 128, "logprobs": 20})", "logprobs",
     "268800000 of all answers' tokens in one piece; expected at most 4194304, or stream true"},
    {kCompletions, R"({"model": "base", "prompt": "x", "logprobs": 21})", "logprobs", "20"},
    {kCompletions, R"({"model": "base", "prompt": "x", "stream_options": {}})", "stream_options", "stream"},
    {kCompletions, R"({"model": "base", "prompt": [5, 535]})", "prompt", "535"},
    {kCompletions, R"({"model": "base", "prompt": [5, -1]})", "prompt[1]", "prompt[1]"},
    {kChat, R"({"model": "base", "messages": []})", "messages", "messages"},
    {kChat, R"({"model": "base", "messages": [{"content": "x"}]})", "messages[0].role", "messages[0].role"},
    {kChat, R"({"model": "base", "messages": [{"role": "user", "content": "x"}], "tools": [{"type": "function"}]})",
     "tools", "tools"},
    {kChat, R"({"model": "base", "messages": [{"role": "user", "content": "x"}], "top_logprobs": 2})", "top_logprobs",
     "logprobs"},
};

TEST_F(ServeTest, RequestsThatCanNotBeAnsweredAreRefusedWithTheFieldNamed) {
  Serve();
  for (const BadRequest& bad : kBadRequests) {
    SCOPED_TRACE(bad.body);
    ExpectError(PostText(address(), bad.path, bad.body), 400, "invalid_request_error", bad.param, "", bad.message);
  }
  const std::string other = R"({"model": "other", "prompt": "x", "messages": [{"role": "user", "content": "x"}]})";
  for (const auto& [path, needless] : {std::pair(kCompletions, "messages"), std::pair(kChat, "prompt")}) {
    json body = json::parse(other);
    body.erase(std::string(needless));
    ExpectError(PostText(address(), path, body.dump()), 404, "invalid_request_error", "", "model_not_found", "'other'");
  }
  // One token fewer would leave room for an answer of one.
  const json ids(std::vector<int32_t>(static_cast<size_t>(kPositions), 5));
  ExpectError(Post(kCompletions, {{"prompt", ids}, {"max_tokens", 1}}), 400, "invalid_request_error", "prompt", "",
              absl::StrCat(kPositions));
  EXPECT_EQ(Metric("requests_total{outcome=\"failed\"}"), 0);
  Ask(kCompletions, Greedy(kPrompt));
}

TEST_F(ServeTest, WhatHttpRefusesIsAnErrorOfTheApiToo) {
  Serve();
  const HttpAnswer got = Get(kCompletions);
  ExpectError(got, 405, "invalid_request_error", "", "", "POST");
  EXPECT_EQ(got.headers.at("allow"), "POST");
  const HttpAnswer posted = PostText(address(), "/v1/models", "{}");
  ExpectError(posted, 405, "invalid_request_error", "", "", "GET");
  EXPECT_EQ(posted.headers.at("allow"), "GET, HEAD");
  ExpectError(Get("/v1/embeddings"), 404, "invalid_request_error", "", "", kCompletions);
  // More than a prompt of all positions may need.
  const std::string large((size_t{1} << 20) + static_cast<size_t>(kPositions) * 32 + 1, ' ');
  ExpectError(PostText(address(), kCompletions, large), 413, "invalid_request_error", "", "", "bytes at most");
  Ask(kCompletions, Greedy(kPrompt));
}

TEST_F(ServeTest, WithAKeyFileOnlyItsKeysAreServed) {
  std::ofstream(Path("keys")) << "# of the tests\nfirst-key\n\nsecond-key\n";
  Serve({"--api-key-file=" + Path("keys")});
  const json body = Greedy(kPrompt);
  for (const char* wrong :
       {"", "Bearer ", "Bearer third-key", "Bearer first-ke", "first-key", "Bearer # of the tests"}) {
    SCOPED_TRACE(wrong);
    const std::map<std::string, std::string> headers = {{"Authorization", wrong}};
    for (const HttpAnswer& answer : {Get("/v1/models", headers), Post(kCompletions, body, headers)}) {
      ExpectError(answer, 401, "authentication_error", "", "invalid_api_key", "API key");
    }
  }
  ExpectError(Get("/v1/models"), 401, "authentication_error", "", "invalid_api_key", "API key");
  for (const char* key : {"first-key", "second-key"}) {
    const std::map<std::string, std::string> headers = {{"Authorization", absl::StrCat("Bearer ", key)}};
    EXPECT_EQ(Get("/v1/models", headers).status, 200) << key;
    EXPECT_EQ(Post(kCompletions, body, headers).status, 200) << key;
  }
  for (const char* open : {"/metrics", "/health", "/livez", "/readyz"}) EXPECT_EQ(Get(open).status, 200) << open;
}

TEST_F(ServeTest, WithoutAChatTemplateChatIsRefusedAndCompletionsAreServed) {
  std::filesystem::remove(Path("base") + "/chat_template.jinja");
  Serve();
  ExpectError(Post(kChat, {{"messages", Turn("Hello")}, {"max_tokens", 2}}), 400, "invalid_request_error", "messages",
              "", "chat template");
  Ask(kCompletions, Greedy(kPrompt));
}

struct BadOption {
  const char* name;
  const char* arguments;  // BASE, TUNED and FOLDER are replaced
  int exit_code;
  const char* message;
};

class ServeOptionTest : public ServeTest, public ::testing::WithParamInterface<BadOption> {};

TEST_P(ServeOptionTest, IsNamedAndNothingIsServed) {
  std::ofstream(Path("comments")) << "# no key\n";
  for (const char* copy : {"mute", "garbled"}) std::filesystem::copy(Path("base"), Path(copy));
  std::filesystem::remove(Path("mute") + "/tokenizer.json");
  std::ofstream(Path("garbled") + "/chat_template.jinja") << "{% for";
  const std::string arguments = absl::StrReplaceAll(
      GetParam().arguments, {{"BASE", Path("base")}, {"TUNED", Path("tuned")}, {"FOLDER", folder_.path()}});
  const Outcome outcome = RunEngine("serve --http 127.0.0.1:0 --json --dtype fp32 " + arguments);
  EXPECT_EQ(outcome.exit_code, GetParam().exit_code) << outcome.messages;
  EXPECT_THAT(outcome.messages, HasSubstr(GetParam().message));
  EXPECT_THAT(outcome.messages, Not(HasSubstr("terminate called")));
  EXPECT_EQ(outcome.output, "");
}

INSTANTIATE_TEST_SUITE_P(
    Engine, ServeOptionTest,
    ::testing::Values(
        BadOption{"SenderWithoutServers", "--model TUNED --sender BASE --plan 1,2,3", 2, "--sender needs --servers"},
        BadOption{"SenderWithoutPlan", "--model TUNED --sender BASE --servers 127.0.0.1:9", 2,
                  "1 --sender and 0 --plan or --runs"},
        BadOption{"PlanWithoutSender", "--model TUNED --plan 1,2,3", 2, "0 --sender and 1 --plan or --runs"},
        BadOption{"TwoPlansOfOneSender", "--model TUNED --sender BASE --plan 1,2,3 --runs 1-2 --servers 127.0.0.1:9", 2,
                  "1 --sender and 2 --plan or --runs"},
        BadOption{"AdapterWithoutAName", "--model BASE --adapter FOLDER/north", 2, "NAME=DIR"},
        BadOption{"AdaptersOfOneName", "--model BASE --adapter x=FOLDER/north --adapter x=FOLDER/south", 2, "'x'"},
        BadOption{"AdapterNamedLikeTheModel", "--model BASE --adapter base=FOLDER/north", 2, "'base'"},
        BadOption{"AdapterBesideOneThatIsMerged", "--model BASE+FOLDER/north --adapter x=FOLDER/south", 2,
                  "without an adapter"},
        BadOption{"AdapterMissing", "--model BASE --adapter x=FOLDER/none", 1, "/none"},
        BadOption{"MalformedServer", "--model BASE --servers nowhere", 2, "--servers: "},
        BadOption{"UnreachableServer", "--model BASE --servers 127.0.0.1:9", 1, "127.0.0.1:9"},
        BadOption{"MemoryOfOneToken", "--model BASE --kv-memory 512B", 2, "--kv-memory"},
        BadOption{"LayerToKeepBeyondTheModels", "--model BASE --keep-e 4", 2, "--keep-e 4"},
        BadOption{"NoneRunning", "--model BASE --max-running 0", 2, "--max-running"},
        BadOption{"NoneWaiting", "--model BASE --max-waiting 0", 2, "--max-waiting"},
        BadOption{"NoModel", "--served-model-name x", 2, "--model"},
        BadOption{"UnknownOption", "--model BASE --quality 0.95", 2, "--quality"},
        BadOption{"ModelMissing", "--model FOLDER/none", 1, "/none"},
        BadOption{"TokenizerMissing", "--model FOLDER/mute", 1, "tokenizer.json"},
        BadOption{"ChatTemplateGarbled", "--model FOLDER/garbled", 1, "chat_template.jinja"},
        BadOption{"KeyFileMissing", "--model BASE --api-key-file FOLDER/none", 1, "/none"},
        BadOption{"KeyFileWithoutKeys", "--model BASE --api-key-file FOLDER/comments", 1, "/comments has no key"}),
    [](const auto& info) { return std::string(info.param.name); });

TEST_F(ServeTest, AnAddressThatIsTakenIsNamed) {
  Serve();
  const Outcome outcome = RunEngine(absl::StrCat("serve --model ", Path("base"), " --http ", address()));
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.messages, HasSubstr(address()));
}

}  // namespace
}  // namespace droidspeak
