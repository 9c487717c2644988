// SPDX-License-Identifier: Apache-2.0
// The OpenAI API's answers as JSON: whole ones, the chunks of streamed ones, errors, and the list of models.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "engine/server/api_request.h"

namespace droidspeak {

// A token with its text and log-probability; what the spelling of a token is in bytes is not always UTF-8 by itself.
struct ApiToken {
  std::string text;  // U+FFFD where the token is a part of a character
  float logprob = 0;
};
struct ApiLogprob {
  ApiToken token;
  std::vector<ApiToken> top;  // descending
  int64_t text_offset = 0;    // of the token in the answer's text, in characters (of /v1/completions)
};

// A part of one choice's answer, or all of it.
struct ApiDelta {
  int64_t index = 0;
  std::string text;
  std::optional<std::vector<ApiLogprob>> logprobs;  // nothing: not asked for
  std::string finish_reason;                        // "stop" or "length"; empty: the answer goes on
};

struct ApiUsage {
  int64_t prompt_tokens = 0;
  int64_t completion_tokens = 0;
  int64_t cached_tokens = 0;  // of the prompt, not computed through all layers
};

// How one prompt was read: an extension, "droidspeak" in usage's object.
struct ApiReuse {
  std::string plan;            // "full" or as the engine was told
  std::string sender;          // whose cache it was; empty with "full"
  int64_t context_tokens = 0;  // rows that were not computed through all layers
  int64_t own_tokens = 0;      // of those, the model's own
  uint64_t kv_bytes = 0;       // fetched from cache servers
  uint64_t e_bytes = 0;
  std::string fallback;  // why less was reused than was there; empty when it was not
};

// Makes the JSON of one request's answer. Immutable after construction; its methods are thread-safe.
class ApiResponse {
 public:
  // `id` without its prefix ("cmpl-", "chatcmpl-"); `created` in seconds of Unix time.
  ApiResponse(Endpoint endpoint, const std::string& id, std::string model, int64_t created);

  // The answer of a request that is not streamed: choices in the order of their index; `reuse` one for each prompt.
  [[nodiscard]] std::string Whole(const std::vector<ApiDelta>& choices, const ApiUsage& usage,
                                  const std::vector<ApiReuse>& reuse) const;

  // Server-sent events, "data: {...}\n\n". Chat's first chunk of a choice has the role and no text.
  [[nodiscard]] std::string FirstEvent(int64_t index, bool usage_follows = false) const;  // empty for completions
  [[nodiscard]] std::string Event(const ApiDelta& delta, bool usage_follows) const;
  [[nodiscard]] std::string UsageEvent(const ApiUsage& usage, const std::vector<ApiReuse>& reuse) const;
  [[nodiscard]] static std::string ErrorEvent(const absl::Status& status);
  [[nodiscard]] static std::string DoneEvent();  // "data: [DONE]\n\n"

 private:
  const Endpoint endpoint_;
  const std::string id_, model_;
  const int64_t created_;
};

// {"error":{"message","type","param","code"}}
[[nodiscard]] std::string ErrorBody(int http_status, const std::string& message, const std::string& param = "",
                                    const std::string& code = "");
// The HTTP status for a status of the engine: 400, 401, 403, 404, 429, 499, 500, 503, 504.
[[nodiscard]] int HttpStatusOf(const absl::Status& status);

// The answer of /v1/models.
struct ApiModel {
  std::string name;
  int64_t max_tokens = 0;  // of prompt and answer
  int64_t created = 0;
};
[[nodiscard]] std::string ModelObject(const ApiModel& model);  // of /v1/models/NAME
[[nodiscard]] std::string ModelList(const std::vector<ApiModel>& models);

}  // namespace droidspeak
