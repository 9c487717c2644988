// SPDX-License-Identifier: Apache-2.0
#include "engine/server/api_request.h"

#include <limits>
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

TEST(ApiRequestTest, AbsentFieldsHaveTheirDefaults) {
  for (const Endpoint endpoint : {kCompletions, kChat}) {
    const ApiRequest request = Parsed(endpoint, "");
    EXPECT_EQ(request.endpoint, endpoint);
    EXPECT_EQ(request.model, "m");
    EXPECT_EQ(request.n, 1);
    EXPECT_FALSE(request.max_tokens.has_value());
    EXPECT_FALSE(request.seed.has_value());
    EXPECT_TRUE(request.stop.empty());
    EXPECT_FALSE(request.ignore_eos || request.stream || request.include_usage);
    EXPECT_EQ(request.sampling.temperature, 1.0);
    EXPECT_EQ(request.sampling.top_p, 1.0);
    EXPECT_EQ(request.sampling.top_k, 0);
    EXPECT_EQ(request.sampling.seed, 0u);
    EXPECT_EQ(request.sampling.top_logprobs, -1);
  }
}

TEST(ApiRequestTest, ReadsEachField) {
  for (const Endpoint endpoint : {kCompletions, kChat}) {
    const ApiRequest request = Parsed(endpoint, R"("max_tokens": 7, "n": 3, "temperature": 0, "top_p": 0.5, "top_k": 40,
        "presence_penalty": -2, "frequency_penalty": 1.5, "seed": 11, "stop": ["a", "ä"], "stream": true,
        "stream_options": {"include_usage": true}, "ignore_eos": true)");
    EXPECT_EQ(request.max_tokens, 7);
    EXPECT_EQ(request.n, 3);
    EXPECT_EQ(request.sampling.temperature, 0.0);
    EXPECT_EQ(request.sampling.top_p, 0.5);
    EXPECT_EQ(request.sampling.top_k, 40);
    EXPECT_EQ(request.sampling.presence_penalty, -2.0);
    EXPECT_EQ(request.sampling.frequency_penalty, 1.5);
    EXPECT_EQ(request.seed, 11u);
    EXPECT_EQ(request.sampling.seed, 11u);
    EXPECT_THAT(request.stop, ElementsAre("a", "ä"));
    EXPECT_TRUE(request.stream && request.include_usage && request.ignore_eos);
  }
}

TEST(ApiRequestTest, NullIsAsAbsent) {
  const std::string both = R"("max_tokens": null, "n": null, "temperature": null, "top_p": null, "top_k": null,
      "presence_penalty": null, "frequency_penalty": null, "seed": null, "stop": null, "stream": null,
      "stream_options": null, "ignore_eos": null, "logprobs": null, "logit_bias": null, "user": null, "metadata": null,
      "store": null, "service_tier": null, "safety_identifier": null, "prompt_cache_key": null,
      "prompt_cache_retention": null, )";
  EXPECT_EQ(Parsed(kCompletions, both + R"("echo": null, "best_of": null, "suffix": null)").n, 1);
  const ApiRequest chat = Parsed(kChat, both + R"("max_completion_tokens": null, "top_logprobs": null, "tools": null,
      "tool_choice": null, "functions": null, "function_call": null, "response_format": null,
      "parallel_tool_calls": null, "modalities": null, "audio": null, "prediction": null, "web_search_options": null,
      "reasoning_effort": null, "verbosity": null)");
  EXPECT_EQ(chat.sampling.top_logprobs, -1);
}

TEST(ApiRequestTest, AcceptsWhatOnlyDescribesTheCallerAndDefaultsOfWhatIsNotSupported) {
  const std::string both = R"("user": "u", "metadata": {"a": "b"}, "store": false, "service_tier": "auto",
      "safety_identifier": "s", "prompt_cache_key": "k", "prompt_cache_retention": "24h", "logit_bias": {},
      "repetition_penalty": 1.0, "min_p": 0.0, "min_tokens": 0, "skip_special_tokens": true, )";
  EXPECT_EQ(Parsed(kCompletions, both + R"("echo": false, "n": 2, "best_of": 2)").n, 2);
  EXPECT_EQ(Parsed(kCompletions, R"("best_of": 2, "n": 2)").n, 2) << "the order of fields doesn't matter";
  EXPECT_EQ(Parsed(kChat, both + R"("tools": [], "tool_choice": "auto", "parallel_tool_calls": true,
      "response_format": {"type": "text"}, "modalities": ["text"], "service_tier": "default")")
                .model,
            "m");
}

TEST(ApiRequestTest, RefusesWhatIsNotSupportedByName) {
  for (const auto& [name, value] : std::vector<std::pair<std::string, std::string>>{{"logit_bias", R"({"5": 1})"},
                                                                                    {"store", "true"},
                                                                                    {"service_tier", R"("flex")"},
                                                                                    {"store", "0"},
                                                                                    {"repetition_penalty", "1.1"},
                                                                                    {"min_p", "0.1"},
                                                                                    {"min_tokens", "1"},
                                                                                    {"skip_special_tokens", "false"}}) {
    for (const Endpoint endpoint : {kCompletions, kChat}) {
      ExpectRefused(endpoint, absl::StrCat("\"", name, "\":", value), name, "expected null or");
    }
  }
  ExpectRefused(kCompletions, R"("echo": true)", "echo",
                "echo: expected null or false (no other is supported), not true");
  ExpectRefused(kCompletions, R"("suffix": "")", "suffix", "expected null (");
  ExpectRefused(kCompletions, R"("best_of": 2)", "best_of", "expected null or n, 1, not 2");
  for (const auto& [name, value] :
       std::vector<std::pair<std::string, std::string>>{{"tools", R"([{"type": "function"}])"},
                                                        {"tool_choice", R"("required")"},
                                                        {"functions", "[]"},
                                                        {"function_call", R"("none")"},
                                                        {"response_format", R"({"type": "json_object"})"},
                                                        {"parallel_tool_calls", "1"},
                                                        {"modalities", R"(["text", "audio"])"},
                                                        {"audio", "{}"},
                                                        {"prediction", "{}"},
                                                        {"web_search_options", "{}"},
                                                        {"reasoning_effort", R"("low")"},
                                                        {"verbosity", R"("low")"}}) {
    ExpectRefused(kChat, absl::StrCat("\"", name, "\":", value), name, "no other is supported");
  }
}

TEST(ApiRequestTest, RefusesUnknownFieldsByName) {
  ExpectRefused(kCompletions, R"("temperatur": 1)", "temperatur", "temperatur: unknown field");
  ExpectRefused(kCompletions, R"("guided_json": null)", "guided_json", "unknown field");
  ExpectRefused(kCompletions, R"("messages": [])", "messages", "unknown field");
  ExpectRefused(kCompletions, R"("max_completion_tokens": 1)", "max_completion_tokens", "unknown field");
  ExpectRefused(kChat, R"("prompt": "a")", "prompt", "unknown field");
  ExpectRefused(kChat, R"("best_of": 1)", "best_of", "unknown field");
  ExpectRefused(kChat, R"("": 1)", "", "unknown field");
  std::string long_name = "x";
  for (int i = 0; i < 1000; ++i) long_name += "ä";
  ExpectRefused(kChat, absl::StrCat("\"", long_name, "\": 1"), long_name.substr(0, 59), "unknown field");
}

TEST(ApiRequestTest, RefusesWrongTypesAndRanges) {
  const std::vector<std::pair<std::string, std::vector<std::string>>> both = {
      {"model", {"null", "1", "[\"m\"]"}},
      {"max_tokens", {"0", "-1", "1.0", "\"1\"", "true", "2147483648", "18446744073709551615", "1e5"}},
      {"n", {"0", "129", "1.0", "99999999999999999999999999", "[1]"}},
      {"temperature", {"-0.1", "2.1", "\"1\"", "1e300", "18446744073709551615", "true"}},
      {"top_p", {"0", "1.01", "{}"}},
      {"top_k", {"-2", "0.5", "9223372036854775807"}},
      {"presence_penalty", {"2.1", "-2.1", "\"\""}},
      {"frequency_penalty", {"2.1", "-2.1", "[]"}},
      {"seed", {"1.0", "9223372036854775808", "\"1\"", "-9223372036854775809"}},
      {"stop", {"1", "\"\"", "[\"\"]", "[1]", "{}", "[null]", List<std::string>(17, "a")}},
      {"stream", {"1", "\"true\""}},
      {"ignore_eos", {"0"}},
      {"stream_options", {"true", "{}", "{\"include_usage\": true}"}}};
  for (const auto& [name, values] : both) {
    for (const std::string& value : values) {
      for (const Endpoint endpoint : {kCompletions, kChat}) {
        ExpectRefused(endpoint, absl::StrCat("\"", name, "\":", value), name, "expected ");
      }
    }
  }
  ExpectRefused(kChat, R"("max_completion_tokens": 0)", "max_completion_tokens", "an integer from 1 to 2147483647");
  ExpectRefused(kCompletions, R"("best_of": true)", "best_of", "an integer from 1 to 128, not true");
}

TEST(ApiRequestTest, RangesOfSamplingAreTheSamplers) {
  ExpectRefused(kChat, R"("temperature": 3)", "temperature", "temperature is 3; expected 0 to 2");
  ExpectRefused(kChat, R"("top_p": 0)", "top_p", "top_p is 0; expected more than 0 and at most 1");
}

TEST(ApiRequestTest, SeedIsAnyInt64) {
  EXPECT_EQ(Parsed(kChat, R"("seed": 0)").seed, 0u);
  EXPECT_EQ(Parsed(kChat, R"("seed": -1)").seed, std::numeric_limits<uint64_t>::max());
  EXPECT_EQ(Parsed(kChat, R"("seed": -9223372036854775808)").sampling.seed, uint64_t{1} << 63);
  EXPECT_EQ(Parsed(kChat, R"("seed": 9223372036854775807)").sampling.seed, (uint64_t{1} << 63) - 1);
}

TEST(ApiRequestTest, TopKOfMinusOneIsAll) {
  EXPECT_EQ(Parsed(kChat, R"("top_k": -1)").sampling.top_k, 0);
  EXPECT_EQ(Parsed(kChat, R"("top_k": 0)").sampling.top_k, 0);
}

TEST(ApiRequestTest, MaxCompletionTokensIsChatsNameOfMaxTokens) {
  EXPECT_EQ(Parsed(kChat, R"("max_completion_tokens": 5)").max_tokens, 5);
  EXPECT_EQ(Parsed(kChat, R"("max_completion_tokens": 5, "max_tokens": 5)").max_tokens, 5);
  EXPECT_EQ(Parsed(kChat, R"("max_completion_tokens": null, "max_tokens": 5)").max_tokens, 5);
  ExpectRefused(kChat, R"("max_completion_tokens": 5, "max_tokens": 6)", "max_tokens",
                "is 6 and max_completion_tokens 5; expected one of them");
}

TEST(ApiRequestTest, StopIsOneStringOrAList) {
  EXPECT_THAT(Parsed(kChat, R"("stop": "\n")").stop, ElementsAre("\n"));
  EXPECT_THAT(Parsed(kChat, R"("stop": [])").stop, ElementsAre());
  EXPECT_EQ(Parsed(kChat, absl::StrCat("\"stop\":", List<std::string>(16, std::string(1024, 'a')))).stop.size(), 16u);
  ExpectRefused(kChat, absl::StrCat("\"stop\":\"", std::string(1025, 'a'), "\""), "stop", "1 to 1024 bytes");
}

TEST(ApiRequestTest, StreamOptions) {
  EXPECT_FALSE(Parsed(kChat, R"("stream": true, "stream_options": {})").include_usage);
  EXPECT_FALSE(Parsed(kChat, R"("stream": true, "stream_options": {"include_usage": false})").include_usage);
  EXPECT_TRUE(
      Parsed(kChat, R"("stream_options": {"include_usage": true, "include_obfuscation": false}, "stream": true)")
          .include_usage);
  ExpectRefused(kChat, R"("stream": true, "stream_options": {"include_obfuscation": true})",
                "stream_options.include_obfuscation", "unknown field");
  ExpectRefused(kChat, R"("stream": true, "stream_options": {"include_usage": 1})", "stream_options.include_usage",
                "expected true or false, not 1");
  ExpectRefused(kChat, R"("stream_options": {})", "stream_options", "expected only with stream true");
}

TEST(ApiRequestTest, LogprobsAreANumberInCompletions) {
  EXPECT_EQ(Parsed(kCompletions, R"("logprobs": 0)").sampling.top_logprobs, 0);
  EXPECT_EQ(Parsed(kCompletions, R"("logprobs": 20)").sampling.top_logprobs, 20);
  for (const char* value : {"21", "-1", "true", "1.0"}) {
    ExpectRefused(kCompletions, absl::StrCat("\"logprobs\":", value), "logprobs", "an integer from 0 to 20");
  }
  ExpectRefused(kCompletions, R"("top_logprobs": 1)", "top_logprobs", "unknown field");
}

TEST(ApiRequestTest, LogprobsAreABooleanInChat) {
  EXPECT_EQ(Parsed(kChat, R"("logprobs": false)").sampling.top_logprobs, -1);
  EXPECT_EQ(Parsed(kChat, R"("logprobs": true)").sampling.top_logprobs, 0);
  EXPECT_EQ(Parsed(kChat, R"("top_logprobs": 20, "logprobs": true)").sampling.top_logprobs, 20);
  ExpectRefused(kChat, R"("logprobs": 1)", "logprobs", "expected true or false, not 1");
  ExpectRefused(kChat, R"("logprobs": true, "top_logprobs": 21)", "top_logprobs", "an integer from 0 to 20, not 21");
  ExpectRefused(kChat, R"("logprobs": true, "top_logprobs": -1)", "top_logprobs", "an integer from 0 to 20, not -1");
  ExpectRefused(kChat, R"("top_logprobs": 1)", "top_logprobs", "only with logprobs true");
  ExpectRefused(kChat, R"("logprobs": false, "top_logprobs": 1)", "top_logprobs", "only with logprobs true");
}

TEST(ApiRequestTest, ParamsOfErrors) {
  EXPECT_EQ(ParamError("a.b", "expected c").message(), "a.b: expected c");
  EXPECT_EQ(ParamOf(ParamError("a.b", "expected c")), "a.b");
  EXPECT_EQ(ParamError("", "expected c").message(), "expected c");
  EXPECT_EQ(ParamOf(ParamError("", "expected c")), "");
  EXPECT_EQ(ParamOf(absl::InternalError("a: b")), "");
  EXPECT_EQ(ParamOf(absl::OkStatus()), "");
}

}  // namespace
}  // namespace droidspeak
