// SPDX-License-Identifier: Apache-2.0
#include "engine/server/api_request.h"

#include <algorithm>
#include <iterator>
#include <limits>
#include <utility>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "common/base/status.h"
#include "common/base/text.h"
#include "engine/server/api_field.h"
#include "engine/server/api_prompt.h"

namespace droidspeak {
namespace {

using Json = nlohmann::ordered_json;

constexpr char kParamUrl[] = "droidspeak/param";
constexpr int64_t kMostTokens = std::numeric_limits<int32_t>::max();
constexpr int64_t kMostTopLogprobs = 20;

absl::Status WithParam(absl::Status status, const std::string& param) {
  status.SetPayload(kParamUrl, absl::Cord(param));
  return status;
}

// What has been read of a request, and what can be judged only when all of it is read.
struct Draft {
  ApiRequest request;
  std::optional<int64_t> max_completion_tokens;
  std::optional<int64_t> best_of;
  std::optional<int64_t> top_logprobs;  // of chat, where `logprobs` says whether there are any
  bool logprobs = false;
  bool has_stream_options = false;
};

// Reads one field that is not null.
using Reader = absl::Status (*)(const ApiField& field, Draft& draft);

// Where a field is kept.
template <typename T>
T& In(Draft& draft, T Draft::*member) {
  return draft.*member;
}
template <typename T>
T& In(Draft& draft, T ApiRequest::*member) {
  return draft.request.*member;
}
template <typename T>
T& In(Draft& draft, T SamplingOptions::*member) {
  return draft.request.sampling.*member;
}

template <auto kMember>
absl::Status ReadBoolean(const ApiField& field, Draft& draft) {
  ASSIGN_OR_RETURN(In(draft, kMember), BooleanOf(field));
  return absl::OkStatus();
}

// SamplingOptions::Check() knows the range.
template <auto kMember>
absl::Status ReadNumber(const ApiField& field, Draft& draft) {
  ASSIGN_OR_RETURN(In(draft, kMember), NumberOf(field));
  return absl::OkStatus();
}

template <auto kMember, int64_t kLow, int64_t kHigh>
absl::Status ReadInteger(const ApiField& field, Draft& draft) {
  ASSIGN_OR_RETURN(In(draft, kMember), IntegerOf(field, kLow, kHigh));
  return absl::OkStatus();
}

absl::Status ReadModel(const ApiField& field, Draft& draft) {
  absl::StatusOr<std::string> model = StringOf(field);
  if (!model.ok()) return std::move(model).status();
  draft.request.model = *std::move(model);
  return absl::OkStatus();
}

absl::Status ReadPrompt(const ApiField& field, Draft& draft) {
  ASSIGN_OR_RETURN(draft.request.prompts, PromptsOf(field));
  return absl::OkStatus();
}

absl::Status ReadMessages(const ApiField& field, Draft& draft) {
  ASSIGN_OR_RETURN(draft.request.messages, MessagesOf(field));
  return absl::OkStatus();
}

absl::Status ReadTopK(const ApiField& field, Draft& draft) {
  ASSIGN_OR_RETURN(const int64_t top_k, IntegerOf(field, -1, kMostTokens));
  draft.request.sampling.top_k = std::max<int64_t>(top_k, 0);  // vLLM has both -1 and 0 for all
  return absl::OkStatus();
}

absl::Status ReadSeed(const ApiField& field, Draft& draft) {
  using Limits = std::numeric_limits<int64_t>;
  ASSIGN_OR_RETURN(const int64_t seed, IntegerOf(field, Limits::min(), Limits::max()));
  draft.request.seed = static_cast<uint64_t>(seed);
  draft.request.sampling.seed = static_cast<uint64_t>(seed);
  return absl::OkStatus();
}

absl::Status ReadStop(const ApiField& field, Draft& draft) {
  Json list = field.value.is_array() ? std::move(field.value) : Json::array({std::move(field.value)});
  if (list.size() > kMostStops) {
    return ParamError(field.name, absl::StrCat(list.size(), " strings; expected at most ", kMostStops));
  }
  for (Json& value : list) {
    absl::StatusOr<std::string> stop = StringOf({field.name, value});
    if (!stop.ok()) return std::move(stop).status();
    if (stop->empty() || stop->size() > kMostStopBytes) {
      return ParamError(field.name,
                        absl::StrCat("expected strings of 1 to ", kMostStopBytes, " bytes, not of ", stop->size()));
    }
    draft.request.stop.push_back(*std::move(stop));
  }
  return absl::OkStatus();
}

absl::Status ReadStreamOptions(const ApiField& field, Draft& draft) {
  if (!field.value.is_object()) return Expected(field, "an object, {\"include_usage\": true}");
  draft.has_stream_options = true;
  for (const auto& item : field.value.items()) {
    const std::string name = absl::StrCat(field.name, ".", item.key());
    if (item.value().is_null() || item.value() == false) continue;
    if (item.key() != "include_usage") return UnknownField(name);
    ASSIGN_OR_RETURN(draft.request.include_usage, BooleanOf({name, item.value()}));
  }
  return absl::OkStatus();
}

// The endpoints that have a field.
constexpr unsigned kInCompletions = 1;
constexpr unsigned kInChat = 2;
constexpr unsigned kInBoth = kInCompletions | kInChat;

struct KnownField {
  std::string_view name;
  unsigned endpoints;
  Reader reader;                    // nullptr: not read
  const char* supported = nullptr;  // of a field that is not read: a JSON list of its values; nullptr: any
};

constexpr KnownField kFields[] = {
    {"model", kInBoth, ReadModel},
    {"prompt", kInCompletions, ReadPrompt},
    {"messages", kInChat, ReadMessages},
    {"max_tokens", kInBoth, ReadInteger<&ApiRequest::max_tokens, 1, kMostTokens>},
    {"max_completion_tokens", kInChat, ReadInteger<&Draft::max_completion_tokens, 1, kMostTokens>},
    {"n", kInBoth, ReadInteger<&ApiRequest::n, 1, kMostChoices>},
    {"best_of", kInCompletions, ReadInteger<&Draft::best_of, 1, kMostChoices>},
    {"temperature", kInBoth, ReadNumber<&SamplingOptions::temperature>},
    {"top_p", kInBoth, ReadNumber<&SamplingOptions::top_p>},
    {"top_k", kInBoth, ReadTopK},
    {"presence_penalty", kInBoth, ReadNumber<&SamplingOptions::presence_penalty>},
    {"frequency_penalty", kInBoth, ReadNumber<&SamplingOptions::frequency_penalty>},
    {"seed", kInBoth, ReadSeed},
    {"stop", kInBoth, ReadStop},
    {"ignore_eos", kInBoth, ReadBoolean<&ApiRequest::ignore_eos>},
    {"stream", kInBoth, ReadBoolean<&ApiRequest::stream>},
    {"stream_options", kInBoth, ReadStreamOptions},
    {"logprobs", kInCompletions, ReadInteger<&SamplingOptions::top_logprobs, 0, kMostTopLogprobs>},
    {"logprobs", kInChat, ReadBoolean<&Draft::logprobs>},
    {"top_logprobs", kInChat, ReadInteger<&Draft::top_logprobs, 0, kMostTopLogprobs>},
    // Would change the answer.
    {"logit_bias", kInBoth, nullptr, "[{}]"},
    {"echo", kInCompletions, nullptr, "[false]"},
    {"repetition_penalty", kInBoth, nullptr, "[1.0]"},
    {"min_p", kInBoth, nullptr, "[0]"},
    {"min_tokens", kInBoth, nullptr, "[0]"},
    {"skip_special_tokens", kInBoth, nullptr, "[true]"},
    {"suffix", kInCompletions, nullptr, "[]"},
    {"tools", kInChat, nullptr, "[[]]"},
    {"tool_choice", kInChat, nullptr, R"(["none", "auto"])"},
    {"parallel_tool_calls", kInChat, nullptr, "[true, false]"},  // of no tools
    {"functions", kInChat, nullptr, "[]"},
    {"function_call", kInChat, nullptr, "[]"},
    {"response_format", kInChat, nullptr, R"([{"type": "text"}])"},
    {"modalities", kInChat, nullptr, R"([["text"]])"},
    {"audio", kInChat, nullptr, "[]"},
    {"prediction", kInChat, nullptr, "[]"},
    {"web_search_options", kInChat, nullptr, "[]"},
    {"reasoning_effort", kInChat, nullptr, "[]"},
    {"verbosity", kInChat, nullptr, "[]"},
    // Ask the service for something that it doesn't do.
    {"store", kInBoth, nullptr, "[false]"},
    {"service_tier", kInBoth, nullptr, R"(["auto", "default"])"},
    // Describe the caller.
    {"user", kInBoth, nullptr},
    {"metadata", kInBoth, nullptr},
    {"safety_identifier", kInBoth, nullptr},
    {"prompt_cache_key", kInBoth, nullptr},
    {"prompt_cache_retention", kInBoth, nullptr},
};

const KnownField* FindField(Endpoint endpoint, std::string_view name) {
  const unsigned bit = endpoint == Endpoint::kChat ? kInChat : kInCompletions;
  for (const KnownField& field : kFields) {
    if (field.name == name && (field.endpoints & bit) != 0) return &field;
  }
  return nullptr;
}

absl::Status ReadField(const ApiField& field, Draft& draft) {
  const KnownField* known = FindField(draft.request.endpoint, field.name);
  if (known == nullptr) return UnknownField(field.name);
  if (field.value.is_null()) return absl::OkStatus();
  if (known->reader != nullptr) return known->reader(field, draft);
  return known->supported == nullptr ? absl::OkStatus() : CheckSupported(field, known->supported);
}

absl::Status FinishTokens(Draft& draft) {
  std::optional<int64_t>& max_tokens = draft.request.max_tokens;
  if (!draft.max_completion_tokens.has_value()) return absl::OkStatus();
  if (max_tokens.has_value() && max_tokens != draft.max_completion_tokens) {
    return ParamError("max_tokens", absl::StrCat("is ", *max_tokens, " and max_completion_tokens ",
                                                 *draft.max_completion_tokens, "; expected one of them"));
  }
  max_tokens = draft.max_completion_tokens;
  return absl::OkStatus();
}

absl::Status FinishChoices(const Draft& draft) {
  const ApiRequest& request = draft.request;
  if (draft.best_of.has_value() && *draft.best_of != request.n) {
    return ParamError("best_of", absl::StrCat("expected null or n, ", request.n, ", not ", *draft.best_of));
  }
  const int64_t prompts = std::ssize(request.prompts);
  if (prompts * request.n > kMostChoices) {
    return ParamError("n", absl::StrCat(request.n, " answers to each of ", prompts, " prompts; expected at most ",
                                        kMostChoices, " answers"));
  }
  return absl::OkStatus();
}

absl::Status FinishSampling(Draft& draft) {
  SamplingOptions& sampling = draft.request.sampling;
  if (draft.top_logprobs.has_value() && !draft.logprobs) {
    return ParamError("top_logprobs", "expected only with logprobs true");
  }
  if (draft.logprobs) sampling.top_logprobs = draft.top_logprobs.value_or(0);
  absl::Status status = sampling.Check();
  if (status.ok()) return status;
  const std::string_view message = ToStd(status.message());  // "temperature is 3; expected 0 to 2"
  return WithParam(status, std::string(message.substr(0, message.find(' '))));
}

// What one field doesn't tell.
absl::Status Finish(Draft& draft) {
  const bool chat = draft.request.endpoint == Endpoint::kChat;
  if (chat ? draft.request.messages.empty() : draft.request.prompts.empty()) {
    return chat ? ParamError("messages", "missing; expected a list of messages")
                : ParamError("prompt", "missing; expected a string");
  }
  if (draft.has_stream_options && !draft.request.stream) {
    return ParamError("stream_options", "expected only with stream true");
  }
  RETURN_IF_ERROR(FinishTokens(draft));
  RETURN_IF_ERROR(FinishChoices(draft));
  return FinishSampling(draft);
}

}  // namespace

absl::StatusOr<ApiRequest> ParseApiRequest(Endpoint endpoint, std::string_view body) {
  absl::StatusOr<Json> json = ParseApiBody(body);
  if (!json.ok()) return std::move(json).status();
  Draft draft;
  draft.request.endpoint = endpoint;
  if (const auto model = json->find("model"); model == json->end() || model->is_null()) {
    return ParamError("model", "missing; expected a string");
  }
  for (const auto& item : json->items()) {
    RETURN_IF_ERROR(ReadField({item.key(), item.value()}, draft));
  }
  RETURN_IF_ERROR(Finish(draft));
  return std::move(draft.request);
}

std::string ParamOf(const absl::Status& status) {
  const absl::optional<absl::Cord> param = status.GetPayload(kParamUrl);
  return param.has_value() ? std::string(*param) : "";
}

absl::Status ParamError(const std::string& param, const std::string& message) {
  if (param.empty()) return absl::InvalidArgumentError(message);
  return WithParam(absl::InvalidArgumentError(absl::StrCat(param, ": ", message)), param);
}

}  // namespace droidspeak
