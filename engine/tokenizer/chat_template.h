// SPDX-License-Identifier: Apache-2.0
// A conversation as the text that the model was trained on.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "nlohmann/json_fwd.hpp"

struct DsChatTemplate;  // rust_api.h

namespace droidspeak {

// The chat template of one model, as transformers reads and renders it: Jinja. Immutable after loading; Render is
// thread-safe.
class ChatTemplate {
 public:
  // Reads `directory`/chat_template.jinja, else "chat_template" of tokenizer_config.json, of several the one named
  // "default". NOT_FOUND if the model has none; INVALID_ARGUMENT naming the file and the template's line if it can't be
  // used.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<ChatTemplate>> Load(const std::filesystem::path& directory);

  ~ChatTemplate();
  ChatTemplate(const ChatTemplate&) = delete;
  ChatTemplate& operator=(const ChatTemplate&) = delete;

  // The prompt's text, special tokens and all: to be encoded without adding others. `messages`: a list of objects with
  // "role" and "content"; `add_generation_prompt`: with the beginning of the assistant's turn. INVALID_ARGUMENT with
  // the template's own words when it refuses the conversation.
  [[nodiscard]] absl::StatusOr<std::string> Render(const nlohmann::ordered_json& messages,
                                                   bool add_generation_prompt) const;

 private:
  ChatTemplate(DsChatTemplate* handle, std::string special_tokens)
      : handle_(handle), special_tokens_(std::move(special_tokens)) {}

  DsChatTemplate* const handle_;      // owned
  const std::string special_tokens_;  // a JSON object: the variables that name the tokenizer's special tokens
};

}  // namespace droidspeak
