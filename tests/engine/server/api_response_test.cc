// SPDX-License-Identifier: Apache-2.0
#include "engine/server/api_response.h"

#include <limits>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/string_view.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace droidspeak {
namespace {

using Json = nlohmann::ordered_json;
using ::testing::HasSubstr;

const ApiResponse& Completions() {
  static const ApiResponse& response = *new ApiResponse(Endpoint::kCompletions, "7f", "m", 1700000000);
  return response;
}

const ApiResponse& Chat() {
  static const ApiResponse& response = *new ApiResponse(Endpoint::kChat, "7f", "m", 1700000000);
  return response;
}

// The JSON of an event.
std::string Data(const std::string& event) {
  EXPECT_TRUE(absl::StartsWith(event, "data: ") && absl::EndsWith(event, "\n\n")) << event;
  std::string data = event.substr(6, event.size() - 8);
  EXPECT_EQ(data.find('\n'), std::string::npos) << "an event is one line";
  return data;
}

const ApiUsage kUsage = {.prompt_tokens = 10, .completion_tokens = 3, .cached_tokens = 8};
const std::vector<ApiReuse> kReuse = {{.plan = "full"},
                                      {.plan = "0,4-7",
                                       .sender = "base",
                                       .context_tokens = 8,
                                       .own_tokens = 2,
                                       .kv_bytes = 4096,
                                       .e_bytes = 512,
                                       .fallback = "no E"}};
constexpr char kUsageJson[] =
    R"({"prompt_tokens":10,"completion_tokens":3,"total_tokens":13,"prompt_tokens_details":{"cached_tokens":8},)"
    R"("droidspeak":[{"plan":"full","sender":null,"context_tokens":0,"own_tokens":0,"bytes":{"kv":0,"e":0},)"
    R"("fallback":null},{"plan":"0,4-7","sender":"base","context_tokens":8,"own_tokens":2,)"
    R"("bytes":{"kv":4096,"e":512},"fallback":"no E"}]})";

std::vector<ApiLogprob> TwoLogprobs() {
  return {{.token = {"a", -0.5f}, .top = {{"b", -0.25f}, {"a", -0.5f}}, .text_offset = 0},
          {.token = {"ä", -2.0f}, .top = {{"c", -1.0f}}, .text_offset = 1}};
}

TEST(ApiResponseTest, WholeCompletion) {
  EXPECT_EQ(Completions().Whole({{.index = 0, .text = "a\n", .finish_reason = "stop"},
                                 {.index = 1, .text = "", .finish_reason = "length"}},
                                kUsage, kReuse),
            std::string(R"({"id":"cmpl-7f","object":"text_completion","created":1700000000,"model":"m","choices":[)"
                        R"({"index":0,"text":"a\n","logprobs":null,"finish_reason":"stop"},)"
                        R"({"index":1,"text":"","logprobs":null,"finish_reason":"length"}],"usage":)") +
                kUsageJson + "}");
}

TEST(ApiResponseTest, WholeChat) {
  EXPECT_EQ(Chat().Whole({{.text = "Hi", .finish_reason = "stop"}}, kUsage, kReuse),
            std::string(R"({"id":"chatcmpl-7f","object":"chat.completion","created":1700000000,"model":"m","choices":[)"
                        R"({"index":0,"message":{"role":"assistant","content":"Hi","refusal":null},"logprobs":null,)"
                        R"("finish_reason":"stop"}],"usage":)") +
                kUsageJson + "}");
}

TEST(ApiResponseTest, LogprobsOfCompletions) {
  const Json answer = Json::parse(
      Completions().Whole({{.text = "aä", .logprobs = TwoLogprobs(), .finish_reason = "stop"}}, kUsage, {}));
  EXPECT_EQ(answer["choices"][0]["logprobs"].dump(),
            R"({"tokens":["a","ä"],"token_logprobs":[-0.5,-2.0],)"
            R"("top_logprobs":[{"b":-0.25,"a":-0.5},{"c":-1.0,"ä":-2.0}],"text_offset":[0,1]})");
  EXPECT_EQ(answer["usage"]["droidspeak"], Json::array());
}

TEST(ApiResponseTest, LogprobsOfChat) {
  const Json answer =
      Json::parse(Chat().Whole({{.text = "aä", .logprobs = TwoLogprobs(), .finish_reason = "stop"}}, kUsage, {}));
  EXPECT_EQ(answer["choices"][0]["logprobs"].dump(),
            R"({"content":[{"token":"a","logprob":-0.5,"bytes":[97],"top_logprobs":[)"
            R"({"token":"b","logprob":-0.25,"bytes":[98]},{"token":"a","logprob":-0.5,"bytes":[97]}]},)"
            R"({"token":"ä","logprob":-2.0,"bytes":[195,164],"top_logprobs":[)"
            R"({"token":"c","logprob":-1.0,"bytes":[99]}]}],"refusal":null})");
}

TEST(ApiResponseTest, LogprobsAskedForOfNoTokens) {
  const ApiDelta none = {.text = "", .logprobs = std::vector<ApiLogprob>(), .finish_reason = "stop"};
  EXPECT_THAT(Chat().Event(none, false), HasSubstr(R"("logprobs":{"content":[],"refusal":null})"));
  EXPECT_THAT(Completions().Event(none, false),
              HasSubstr(R"("logprobs":{"tokens":[],"token_logprobs":[],"top_logprobs":[],"text_offset":[]})"));
}

TEST(ApiResponseTest, TokensOfTheSameTextHaveTheLikeliestsLogprob) {
  const ApiLogprob logprob = {.token = {"\uFFFD", -3.0f}, .top = {{"\uFFFD", -1.0f}, {"\uFFFD", -2.0f}}};
  const ApiDelta delta = {.text = "", .logprobs = {{logprob}}};
  EXPECT_THAT(Completions().Event(delta, false), HasSubstr("\"top_logprobs\":[{\"\uFFFD\":-1.0}]"));
}

TEST(ApiResponseTest, BytesOfPartsOfCharactersAreUnknown) {
  const ApiDelta delta = {.text = "", .logprobs = {{{.token = {"\uFFFD", -3.0f}}}}};
  EXPECT_THAT(Chat().Event(delta, false), HasSubstr("{\"token\":\"\uFFFD\",\"logprob\":-3.0,\"bytes\":null,"));
}

TEST(ApiResponseTest, ImpossibleTokensHaveAFiniteLogprob) {
  for (const float logprob :
       {-std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN(), -1e9f}) {
    const ApiDelta delta = {.text = "a", .logprobs = {{{.token = {"a", logprob}, .top = {{"b", logprob}}}}}};
    EXPECT_THAT(Chat().Event(delta, false), HasSubstr(R"("token":"a","logprob":-9999.0,)"));
    EXPECT_THAT(Chat().Event(delta, false), HasSubstr(R"("token":"b","logprob":-9999.0,)"));
    EXPECT_THAT(Completions().Event(delta, false), HasSubstr(R"("token_logprobs":[-9999.0])"));
    EXPECT_THAT(Completions().Event(delta, false), HasSubstr(R"([{"b":-9999.0,"a":-9999.0}])"));
  }
}

constexpr char kChunk[] = R"({"id":"chatcmpl-7f","object":"chat.completion.chunk","created":1700000000,"model":"m",)";

TEST(ApiResponseTest, ChunksOfChat) {
  const std::string chunk = kChunk;
  EXPECT_EQ(Data(Chat().FirstEvent(1)),
            chunk + R"("choices":[{"index":1,"delta":{"role":"assistant","content":""},"logprobs":null,)"
                    R"("finish_reason":null}]})");
  EXPECT_EQ(Data(Chat().Event({.index = 1, .text = "a\r\n\n"}, false)),
            chunk + R"("choices":[{"index":1,"delta":{"content":"a\r\n\n"},"logprobs":null,"finish_reason":null}]})");
  EXPECT_EQ(Data(Chat().Event({.index = 1, .text = "b", .finish_reason = "length"}, false)),
            chunk + R"("choices":[{"index":1,"delta":{"content":"b"},"logprobs":null,"finish_reason":"length"}]})");
  EXPECT_EQ(Data(Chat().Event({.finish_reason = "stop"}, false)),
            chunk + R"("choices":[{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}]})");
}

TEST(ApiResponseTest, ChunksOfCompletions) {
  EXPECT_EQ(Completions().FirstEvent(0), "");
  EXPECT_EQ(Completions().FirstEvent(0, true), "");
  const std::string chunk = R"({"id":"cmpl-7f","object":"text_completion","created":1700000000,"model":"m",)";
  EXPECT_EQ(Data(Completions().Event({.index = 2, .text = "a"}, false)),
            chunk + R"("choices":[{"index":2,"text":"a","logprobs":null,"finish_reason":null}]})");
  EXPECT_EQ(Data(Completions().Event({.finish_reason = "stop"}, true)),
            chunk + R"("choices":[{"index":0,"text":"","logprobs":null,"finish_reason":"stop"}],"usage":null})");
  EXPECT_EQ(Data(Completions().UsageEvent(kUsage, kReuse)), chunk + R"("choices":[],"usage":)" + kUsageJson + "}");
}

TEST(ApiResponseTest, UsageFollowsInAChunkOfItsOwn) {
  EXPECT_THAT(Data(Chat().FirstEvent(0, true)), HasSubstr(R"("finish_reason":null}],"usage":null})"));
  EXPECT_THAT(Data(Chat().Event({.text = "a"}, true)), HasSubstr(R"("finish_reason":null}],"usage":null})"));
  EXPECT_EQ(Data(Chat().UsageEvent(kUsage, kReuse)),
            std::string(kChunk) + R"("choices":[],"usage":)" + kUsageJson + "}");
}

TEST(ApiResponseTest, BytesThatAreNoUtf8AreReplaced) {
  const ApiResponse response(Endpoint::kCompletions, "7f", "m\xFF", 0);
  const ApiDelta delta = {.text = "a\xC3", .logprobs = {{{.token = {"\xC3", -1.0f}, .top = {{"\xA4", -1.0f}}}}}};
  const Json chunk = Json::parse(Data(response.Event(delta, false)));
  EXPECT_EQ(chunk["model"], "m\uFFFD");
  EXPECT_EQ(chunk["choices"][0]["text"], "a\uFFFD");
  EXPECT_EQ(ErrorBody(400, "\xFF"),
            "{\"error\":{\"message\":\"\uFFFD\",\"type\":\"invalid_request_error\",\"param\":null,\"code\":null}}");
}

TEST(ApiResponseTest, DoneEvent) {
  EXPECT_EQ(ApiResponse::DoneEvent(), "data: [DONE]\n\n");
}

TEST(ApiResponseTest, Errors) {
  EXPECT_EQ(ErrorBody(401, "no key", "", "invalid_api_key"),
            R"({"error":{"message":"no key","type":"authentication_error","param":null,"code":"invalid_api_key"}})");
  EXPECT_EQ(Data(ApiResponse::ErrorEvent(ParamError("n", "expected 1"))),
            R"({"error":{"message":"n: expected 1","type":"invalid_request_error","param":"n","code":null}})");
  EXPECT_EQ(Data(ApiResponse::ErrorEvent(absl::UnavailableError("ends"))),
            R"({"error":{"message":"ends","type":"service_unavailable_error","param":null,"code":null}})");
}

TEST(ApiResponseTest, TypesOfErrors) {
  const auto type = [](int http_status) {
    return Json::parse(ErrorBody(http_status, "a"))["error"]["type"].get<std::string>();
  };
  for (const int refused : {400, 403, 404, 405, 408, 411, 413, 431, 499}) {
    EXPECT_EQ(type(refused), "invalid_request_error") << refused;
  }
  EXPECT_EQ(type(401), "authentication_error");
  EXPECT_EQ(type(429), "rate_limit_error");
  EXPECT_EQ(type(503), "service_unavailable_error");
  for (const int broken : {500, 501, 504}) EXPECT_EQ(type(broken), "internal_server_error") << broken;
}

TEST(ApiResponseTest, HttpStatuses) {
  const std::vector<std::pair<absl::StatusCode, int>> statuses = {
      {absl::StatusCode::kInvalidArgument, 400},    {absl::StatusCode::kOutOfRange, 400},
      {absl::StatusCode::kFailedPrecondition, 400}, {absl::StatusCode::kUnauthenticated, 401},
      {absl::StatusCode::kPermissionDenied, 403},   {absl::StatusCode::kNotFound, 404},
      {absl::StatusCode::kResourceExhausted, 429},  {absl::StatusCode::kCancelled, 499},
      {absl::StatusCode::kUnavailable, 503},        {absl::StatusCode::kDeadlineExceeded, 504},
      {absl::StatusCode::kInternal, 500},           {absl::StatusCode::kUnknown, 500},
      {absl::StatusCode::kDataLoss, 500},           {absl::StatusCode::kUnimplemented, 500}};
  for (const auto& [code, http_status] : statuses) EXPECT_EQ(HttpStatusOf(absl::Status(code, "")), http_status);
}

TEST(ApiResponseTest, ListOfModels) {
  EXPECT_EQ(ModelList({{.name = "a", .max_tokens = 4096, .created = 5}, {.name = "b"}}),
            R"({"object":"list","data":[{"id":"a","object":"model","created":5,"owned_by":"droidspeak",)"
            R"("max_model_len":4096},{"id":"b","object":"model","created":0,"owned_by":"droidspeak",)"
            R"("max_model_len":0}]})");
  EXPECT_EQ(ModelList({}), R"({"object":"list","data":[]})");
}

}  // namespace
}  // namespace droidspeak
