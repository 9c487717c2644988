// SPDX-License-Identifier: Apache-2.0
// What a request gives the model to read: the prompts of /v1/completions, the messages of /v1/chat/completions.
#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "engine/server/api_field.h"
#include "engine/server/api_request.h"
#include "nlohmann/json.hpp"

namespace droidspeak {

// A text, a list of texts, the ids of a prompt's tokens, or a list of such lists. Both take what they return out of the
// field.
[[nodiscard]] absl::StatusOr<std::vector<ApiPrompt>> PromptsOf(const ApiField& field);

// Objects of a "role" and a "content", which is made one string as chat templates expect it: parts are joined by
// newlines (as vLLM does), null becomes "". Calls of tools are refused; other fields are the template's.
[[nodiscard]] absl::StatusOr<nlohmann::ordered_json> MessagesOf(const ApiField& field);

}  // namespace droidspeak
