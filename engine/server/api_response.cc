// SPDX-License-Identifier: Apache-2.0
#include "engine/server/api_response.h"

#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"

namespace droidspeak {
namespace {

using Json = nlohmann::ordered_json;

// Stands for probabilities too small to tell, as in OpenAI's answers: JSON has no infinities.
constexpr float kLeastLogprob = -9999.0f;
constexpr std::string_view kReplacement = "\xEF\xBF\xBD";  // U+FFFD

// Texts of a model may be cut within a character.
std::string Dump(const Json& json) {
  return json.dump(-1, ' ', /*ensure_ascii=*/false, Json::error_handler_t::replace);
}

std::string ServerSentEvent(const Json& json) {
  return absl::StrCat("data: ", Dump(json), "\n\n");
}

Json OrNull(const std::string& text) {
  return text.empty() ? Json(nullptr) : Json(text);
}

float Finite(float logprob) {
  return logprob > kLeastLogprob ? logprob : kLeastLogprob;  // NaN, too
}

// Clients join bytes of tokens to text, so those of a part of a character must not be U+FFFD's: null, for unknown.
Json BytesOf(const std::string& text) {
  if (text.find(kReplacement) != std::string::npos) return nullptr;
  Json bytes = Json::array();
  for (const char byte : text) bytes.push_back(static_cast<unsigned char>(byte));
  return bytes;
}

Json ChatToken(const ApiToken& token) {
  return {{"token", token.text}, {"logprob", Finite(token.logprob)}, {"bytes", BytesOf(token.text)}};
}

Json ChatLogprobs(const std::vector<ApiLogprob>& logprobs) {
  Json content = Json::array();
  for (const ApiLogprob& logprob : logprobs) {
    Json top = Json::array();
    for (const ApiToken& token : logprob.top) top.push_back(ChatToken(token));
    content.push_back(ChatToken(logprob.token));
    content.back()["top_logprobs"] = std::move(top);
  }
  return {{"content", std::move(content)}, {"refusal", nullptr}};
}

// Tokens by their texts: of those with the same one the likeliest. The chosen token is always among them.
Json TopByText(const ApiLogprob& logprob) {
  Json top = Json::object();
  for (const ApiToken& token : logprob.top) top.emplace(token.text, Finite(token.logprob));
  top.emplace(logprob.token.text, Finite(logprob.token.logprob));
  return top;
}

Json CompletionLogprobs(const std::vector<ApiLogprob>& logprobs) {
  Json tokens = Json::array();
  Json token_logprobs = Json::array();
  Json top_logprobs = Json::array();
  Json text_offset = Json::array();
  for (const ApiLogprob& logprob : logprobs) {
    tokens.push_back(logprob.token.text);
    token_logprobs.push_back(Finite(logprob.token.logprob));
    top_logprobs.push_back(TopByText(logprob));
    text_offset.push_back(logprob.text_offset);
  }
  return {{"tokens", std::move(tokens)},
          {"token_logprobs", std::move(token_logprobs)},
          {"top_logprobs", std::move(top_logprobs)},
          {"text_offset", std::move(text_offset)}};
}

Json Logprobs(Endpoint endpoint, const ApiDelta& delta) {
  if (!delta.logprobs.has_value()) return nullptr;
  return endpoint == Endpoint::kChat ? ChatLogprobs(*delta.logprobs) : CompletionLogprobs(*delta.logprobs);
}

// A choice, whole or of a chunk: what holds its text differs.
Json ChoiceOf(Endpoint endpoint, const ApiDelta& delta, const char* text_name, Json text) {
  return {{"index", delta.index},
          {text_name, std::move(text)},
          {"logprobs", Logprobs(endpoint, delta)},
          {"finish_reason", OrNull(delta.finish_reason)}};
}

Json WholeChoice(Endpoint endpoint, const ApiDelta& delta) {
  if (endpoint == Endpoint::kCompletions) return ChoiceOf(endpoint, delta, "text", delta.text);
  return ChoiceOf(endpoint, delta, "message", {{"role", "assistant"}, {"content", delta.text}, {"refusal", nullptr}});
}

// Chat's last chunk of a choice often has no text; any other has a content.
Json ChunkChoice(Endpoint endpoint, const ApiDelta& delta) {
  if (endpoint == Endpoint::kCompletions) return WholeChoice(endpoint, delta);
  Json content = Json::object();
  if (!delta.text.empty() || delta.finish_reason.empty()) content["content"] = delta.text;
  return ChoiceOf(endpoint, delta, "delta", std::move(content));
}

Json ReuseOf(const ApiReuse& reuse) {
  return {{"plan", reuse.plan},
          {"sender", OrNull(reuse.sender)},
          {"context_tokens", reuse.context_tokens},
          {"own_tokens", reuse.own_tokens},
          {"bytes", {{"kv", reuse.kv_bytes}, {"e", reuse.e_bytes}}},
          {"fallback", OrNull(reuse.fallback)}};
}

Json UsageOf(const ApiUsage& usage, const std::vector<ApiReuse>& reuse) {
  Json prompts = Json::array();
  for (const ApiReuse& one : reuse) prompts.push_back(ReuseOf(one));
  return {{"prompt_tokens", usage.prompt_tokens},
          {"completion_tokens", usage.completion_tokens},
          {"total_tokens", usage.prompt_tokens + usage.completion_tokens},
          {"prompt_tokens_details", {{"cached_tokens", usage.cached_tokens}}},
          {"droidspeak", std::move(prompts)}};
}

// What an answer and all of its chunks begin with.
Json Answer(const std::string& id, const char* object, int64_t created, const std::string& model, Json choices) {
  return {{"id", id}, {"object", object}, {"created", created}, {"model", model}, {"choices", std::move(choices)}};
}

const char* ChunkObject(Endpoint endpoint) {
  return endpoint == Endpoint::kChat ? "chat.completion.chunk" : "text_completion";
}

std::string ErrorType(int http_status) {
  switch (http_status) {
    case 401:
      return "authentication_error";
    case 429:
      return "rate_limit_error";
    case 503:
      return "service_unavailable_error";
    default:
      return http_status >= 400 && http_status < 500 ? "invalid_request_error" : "internal_server_error";
  }
}

Json ErrorOf(int http_status, const std::string& message, const std::string& param, const std::string& code) {
  return {{"error",
           {{"message", message}, {"type", ErrorType(http_status)}, {"param", OrNull(param)}, {"code", OrNull(code)}}}};
}

Json ModelJson(const ApiModel& model) {
  return {{"id", model.name},
          {"object", "model"},
          {"created", model.created},
          {"owned_by", "droidspeak"},
          {"max_model_len", model.max_tokens}};
}

}  // namespace

ApiResponse::ApiResponse(Endpoint endpoint, const std::string& id, std::string model, int64_t created)
    : endpoint_(endpoint),
      id_(absl::StrCat(endpoint == Endpoint::kChat ? "chatcmpl-" : "cmpl-", id)),
      model_(std::move(model)),
      created_(created) {}

std::string ApiResponse::Whole(const std::vector<ApiDelta>& choices, const ApiUsage& usage,
                               const std::vector<ApiReuse>& reuse) const {
  Json list = Json::array();
  for (const ApiDelta& choice : choices) list.push_back(WholeChoice(endpoint_, choice));
  const char* object = endpoint_ == Endpoint::kChat ? "chat.completion" : "text_completion";
  Json answer = Answer(id_, object, created_, model_, std::move(list));
  answer["usage"] = UsageOf(usage, reuse);
  return Dump(answer);
}

std::string ApiResponse::FirstEvent(int64_t index, bool usage_follows) const {
  if (endpoint_ == Endpoint::kCompletions) return "";
  Json choice = ChoiceOf(endpoint_, {.index = index}, "delta", {{"role", "assistant"}, {"content", ""}});
  Json chunk = Answer(id_, ChunkObject(endpoint_), created_, model_, Json::array({std::move(choice)}));
  if (usage_follows) chunk["usage"] = nullptr;
  return ServerSentEvent(chunk);
}

std::string ApiResponse::Event(const ApiDelta& delta, bool usage_follows) const {
  Json choices = Json::array({ChunkChoice(endpoint_, delta)});
  Json chunk = Answer(id_, ChunkObject(endpoint_), created_, model_, std::move(choices));
  if (usage_follows) chunk["usage"] = nullptr;
  return ServerSentEvent(chunk);
}

std::string ApiResponse::UsageEvent(const ApiUsage& usage, const std::vector<ApiReuse>& reuse) const {
  Json chunk = Answer(id_, ChunkObject(endpoint_), created_, model_, Json::array());
  chunk["usage"] = UsageOf(usage, reuse);
  return ServerSentEvent(chunk);
}

std::string ApiResponse::ErrorEvent(const absl::Status& status) {
  return ServerSentEvent(ErrorOf(HttpStatusOf(status), std::string(status.message()), ParamOf(status), ""));
}

std::string ApiResponse::DoneEvent() {
  return "data: [DONE]\n\n";
}

std::string ErrorBody(int http_status, const std::string& message, const std::string& param, const std::string& code) {
  return Dump(ErrorOf(http_status, message, param, code));
}

int HttpStatusOf(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kOutOfRange:
    case absl::StatusCode::kFailedPrecondition:
      return 400;
    case absl::StatusCode::kUnauthenticated:
      return 401;
    case absl::StatusCode::kPermissionDenied:
      return 403;
    case absl::StatusCode::kNotFound:
      return 404;
    case absl::StatusCode::kResourceExhausted:
      return 429;
    case absl::StatusCode::kCancelled:
      return 499;  // nginx's, for a client that has hung up
    case absl::StatusCode::kUnavailable:
      return 503;
    case absl::StatusCode::kDeadlineExceeded:
      return 504;
    default:
      return 500;
  }
}

std::string ModelObject(const ApiModel& model) {
  return Dump(ModelJson(model));
}

std::string ModelList(const std::vector<ApiModel>& models) {
  Json data = Json::array();
  for (const ApiModel& model : models) data.push_back(ModelJson(model));
  return Dump({{"object", "list"}, {"data", std::move(data)}});
}

}  // namespace droidspeak
