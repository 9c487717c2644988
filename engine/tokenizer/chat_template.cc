// SPDX-License-Identifier: Apache-2.0
#include "engine/tokenizer/chat_template.h"

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/base/files.h"
#include "common/base/json_depth.h"
#include "common/base/status.h"
#include "common/base/text.h"
#include "engine/tokenizer/rust_api.h"
#include "engine/tokenizer/rust_text.h"
#include "nlohmann/json.hpp"

namespace droidspeak {
namespace {

using Json = nlohmann::ordered_json;

constexpr uint64_t kMaxTemplateBytes = 1 << 20;
constexpr uint64_t kMaxConfigBytes = 16 << 20;
constexpr const char* kSpecialTokens[] = {"bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token"};

// tokenizer_config.json; an empty object if there is none.
absl::StatusOr<Json> ReadConfig(const std::filesystem::path& path) {
  const absl::StatusOr<std::string> text = ReadFile(path, kMaxConfigBytes);
  if (absl::IsNotFound(text.status())) return Json::object();
  RETURN_IF_ERROR(text.status());
  if (NestsTooDeep(*text)) return absl::InvalidArgumentError(absl::StrCat(path.string(), ": nests too deep"));
  Json config = Json::parse(*text, /*cb=*/nullptr, /*allow_exceptions=*/false);
  if (!config.is_object()) return absl::InvalidArgumentError(absl::StrCat(path.string(), ": expected a JSON object"));
  return config;
}

// A token is a string, or an object whose "content" is.
std::string SpecialTokens(const Json& config) {
  Json tokens = Json::object();
  for (const char* name : kSpecialTokens) {
    const auto value = config.find(name);
    if (value == config.end()) continue;
    const Json& content = value->is_object() && value->contains("content") ? (*value)["content"] : *value;
    if (content.is_string()) tokens[name] = content;
  }
  return tokens.dump();
}

// "chat_template" of the configuration: one, or several with names. Empty if there is none.
absl::StatusOr<std::string> TemplateOf(const Json& config, const std::filesystem::path& path) {
  const auto value = config.find("chat_template");
  if (value == config.end() || value->is_null()) return std::string();
  if (value->is_string()) return value->get<std::string>();
  for (const Json& one : value->is_array() ? *value : Json::array()) {
    const bool fits = one.is_object() && one.value("name", Json()) == "default" && one.contains("template") &&
                      one["template"].is_string();
    if (fits) return one["template"].get<std::string>();
  }
  return absl::InvalidArgumentError(absl::StrCat(
      path.string(), ": chat_template: expected a template, or a list of templates one of which is named \"default\""));
}

}  // namespace

absl::StatusOr<std::unique_ptr<ChatTemplate>> ChatTemplate::Load(const std::filesystem::path& directory) {
  std::filesystem::path path = directory / "tokenizer_config.json";
  ASSIGN_OR_RETURN(const Json config, ReadConfig(path));
  const std::filesystem::path own = directory / "chat_template.jinja";
  absl::StatusOr<std::string> text = ReadFile(own, kMaxTemplateBytes);
  if (text.ok()) {
    path = own;
  } else if (absl::IsNotFound(text.status())) {
    text = TemplateOf(config, path);
  }
  RETURN_IF_ERROR(text.status());
  if (text->empty()) {
    return absl::NotFoundError(absl::StrCat(directory.string(),
                                            " has no chat template: neither chat_template.jinja nor ",
                                            "chat_template in tokenizer_config.json"));
  }
  RustText error;
  DsChatTemplate* const handle = ds_chat_template_load(RustBytes(*text), text->size(), error.get());
  if (handle == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat(path.string(), ": chat template: ", ToAbsl(error.view())));
  }
  return std::unique_ptr<ChatTemplate>(new ChatTemplate(handle, SpecialTokens(config)));
}

ChatTemplate::~ChatTemplate() {
  ds_chat_template_free(handle_);
}

absl::StatusOr<std::string> ChatTemplate::Render(const Json& messages, bool add_generation_prompt) const {
  Json context = Json::parse(special_tokens_);
  context["messages"] = messages;
  context["add_generation_prompt"] = add_generation_prompt;
  const std::string json = context.dump(-1, ' ', /*ensure_ascii=*/false, Json::error_handler_t::replace);
  RustText text, error;
  if (!ds_chat_template_render(handle_, RustBytes(json), json.size(), text.get(), error.get())) {
    return absl::InvalidArgumentError(absl::StrCat("the chat template refuses the messages: ", ToAbsl(error.view())));
  }
  return std::string(text.view());
}

}  // namespace droidspeak
