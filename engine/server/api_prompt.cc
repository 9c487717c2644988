// SPDX-License-Identifier: Apache-2.0
#include "engine/server/api_prompt.h"

#include <cstdint>
#include <limits>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status.h"

namespace droidspeak {
namespace {

using Json = nlohmann::ordered_json;

constexpr int64_t kMostTokenId = std::numeric_limits<int32_t>::max();

std::string ElementName(const std::string& list, size_t index) {
  return absl::StrCat(list, "[", index, "]");
}

absl::StatusOr<ApiPrompt> TokenIdsOf(const ApiField& field) {
  if (!field.value.is_array() || field.value.empty()) return Expected(field, "a list of one or more token ids");
  std::vector<int32_t> ids;
  ids.reserve(field.value.size());
  for (Json& value : field.value) {
    // A name is made for an error alone: there may be a million ids.
    if (!value.is_number_unsigned() || value.get<uint64_t>() > static_cast<uint64_t>(kMostTokenId)) {
      return Expected({ElementName(field.name, ids.size()), value},
                      absl::StrCat("a token id, an integer from 0 to ", kMostTokenId));
    }
    ids.push_back(value.get<int32_t>());
  }
  return ids;
}

absl::StatusOr<ApiPrompt> TextOf(const ApiField& field) {
  absl::StatusOr<std::string> text = StringOf(field);
  if (!text.ok()) return std::move(text).status();
  return *std::move(text);
}

// A list's prompts are of one kind, as its first.
absl::StatusOr<std::vector<ApiPrompt>> ListOf(const ApiField& field) {
  if (field.value.size() > kMostPrompts) {
    return ParamError(field.name, absl::StrCat(field.value.size(), " prompts; expected at most ", kMostPrompts));
  }
  const bool texts = field.value.front().is_string();
  std::vector<ApiPrompt> prompts;
  for (Json& value : field.value) {
    const std::string name = ElementName(field.name, prompts.size());
    absl::StatusOr<ApiPrompt> prompt = texts ? TextOf({name, value}) : TokenIdsOf({name, value});
    if (!prompt.ok()) return std::move(prompt).status();
    prompts.push_back(*std::move(prompt));
  }
  return prompts;
}

absl::StatusOr<std::string> PartOf(const ApiField& field) {
  if (!field.value.is_object()) return Expected(field, "an object with \"type\" and \"text\"");
  const std::string type_name = field.name + ".type";
  Json& type = field.value["type"];
  if (type != "text") return Expected({type_name, type}, "\"text\", the only type of content that is supported");
  for (const auto& [key, value] : field.value.items()) {
    if (key != "type" && key != "text" && !value.is_null()) return UnknownField(absl::StrCat(field.name, ".", key));
  }
  const std::string text_name = field.name + ".text";
  return StringOf({text_name, field.value["text"]});
}

absl::StatusOr<std::string> ContentOf(const ApiField& field) {
  if (field.value.is_null()) return std::string();
  if (field.value.is_string()) return StringOf(field);
  if (!field.value.is_array() || field.value.empty()) return Expected(field, "a string, null or a list of text parts");
  std::string content;
  size_t index = 0;
  for (Json& part : field.value) {
    absl::StatusOr<std::string> text = PartOf({ElementName(field.name, index), part});
    if (!text.ok()) return text;
    if (index > 0) content += '\n';
    content += *text;
    ++index;
  }
  return content;
}

// Takes the field off when it says that there are no calls: templates look for its name alone.
absl::Status TakeOffCalls(const ApiField& message, const std::string& key, const char* supported) {
  const auto found = message.value.find(key);
  if (found == message.value.end()) return absl::OkStatus();
  const std::string name = absl::StrCat(message.name, ".", key);
  RETURN_IF_ERROR(CheckSupported({name, *found}, supported));
  message.value.erase(found);
  return absl::OkStatus();
}

absl::Status ReadMessage(const ApiField& message) {
  if (!message.value.is_object()) return Expected(message, "an object with \"role\" and \"content\"");
  const std::string role_name = message.name + ".role";
  const std::string content_name = message.name + ".content";
  if (Json& role = message.value["role"]; !role.is_string()) return Expected({role_name, role}, "a string");
  if (!message.value.contains("content")) return ParamError(content_name, "missing; expected a string");
  Json& content = message.value["content"];
  absl::StatusOr<std::string> text = ContentOf({content_name, content});
  if (!text.ok()) return std::move(text).status();
  content = *std::move(text);
  RETURN_IF_ERROR(TakeOffCalls(message, "tool_calls", "[[]]"));
  return TakeOffCalls(message, "function_call", "[]");
}

}  // namespace

absl::StatusOr<std::vector<ApiPrompt>> PromptsOf(const ApiField& field) {
  const Json& value = field.value;
  if (value.is_array() && !value.empty()) {
    const Json& first = value.front();
    if (first.is_string() || first.is_array()) return ListOf(field);
    if (!first.is_number())
      return Expected({ElementName(field.name, 0), field.value.front()}, "a text, a token id or a list of ids");
  } else if (!value.is_string()) {
    return Expected(field, "a string, a list of strings, a list of token ids or a list of such lists");
  }
  absl::StatusOr<ApiPrompt> prompt = value.is_string() ? TextOf(field) : TokenIdsOf(field);
  if (!prompt.ok()) return std::move(prompt).status();
  std::vector<ApiPrompt> prompts;
  prompts.push_back(*std::move(prompt));
  return prompts;
}

absl::StatusOr<Json> MessagesOf(const ApiField& field) {
  if (!field.value.is_array() || field.value.empty()) return Expected(field, "a list of one or more messages");
  size_t index = 0;
  for (Json& message : field.value) {
    const std::string name = ElementName(field.name, index++);
    RETURN_IF_ERROR(ReadMessage({name, message}));
  }
  return std::move(field.value);
}

}  // namespace droidspeak
