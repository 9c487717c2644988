// SPDX-License-Identifier: Apache-2.0
// What a client of the OpenAI API asks for, checked.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/sampling/sampler.h"
#include "nlohmann/json.hpp"

namespace droidspeak {

enum class Endpoint { kCompletions, kChat };

// A prompt as it was given: text, or the ids of its tokens.
using ApiPrompt = std::variant<std::string, std::vector<int32_t>>;

struct ApiRequest {
  Endpoint endpoint = Endpoint::kCompletions;
  std::string model;
  std::vector<ApiPrompt> prompts;  // of /v1/completions: one or more
  // Of /v1/chat/completions, a list; contents in parts are joined to one string.
  nlohmann::ordered_json messages = nlohmann::ordered_json::array();
  int64_t n = 1;  // answers to each prompt
  std::optional<int64_t> max_tokens;
  SamplingOptions sampling;  // its seed is 0 unless `seed` says one
  std::optional<uint64_t> seed;
  std::vector<std::string> stop;
  bool ignore_eos = false;
  bool stream = false;
  bool include_usage = false;
};

// Limits beyond those of HTTP.
inline constexpr int64_t kMostPrompts = 128;
inline constexpr int64_t kMostChoices = 128;  // of all prompts together: prompts x n
inline constexpr int64_t kMostStops = 16;
inline constexpr int64_t kMostStopBytes = 1024;  // of each

// Reads the body of a POST. INVALID_ARGUMENT says which field is wrong and what was expected; ParamOf names the field.
// Fields that would change the answer and are not supported are refused unless they have their default; unknown fields
// are refused, too, except those that only describe the caller ("user", "metadata", "store", "service_tier", ...).
[[nodiscard]] absl::StatusOr<ApiRequest> ParseApiRequest(Endpoint endpoint, std::string_view body);

// The field that a status is about; empty if none.
[[nodiscard]] std::string ParamOf(const absl::Status& status);
// The status with its field: INVALID_ARGUMENT "FIELD: MESSAGE".
[[nodiscard]] absl::Status ParamError(const std::string& param, const std::string& message);

}  // namespace droidspeak
