// SPDX-License-Identifier: Apache-2.0
#include "engine/dataset/prompt.h"

#include <array>
#include <set>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/base/files.h"
#include "common/base/json_depth.h"
#include "common/base/status.h"
#include "common/base/text.h"
#include "nlohmann/json.hpp"

namespace droidspeak {
namespace {

using nlohmann::json;

constexpr uint64_t kMaxPromptBytes = 1 << 20;
constexpr int64_t kMaxNewTokens = 1 << 20;
constexpr size_t kMaxStops = 64;

struct Field {
  std::string_view name;
  std::string Sample::*value;
};
constexpr std::array<Field, 5> kFields = {{{"context", &Sample::context},
                                           {"input", &Sample::input},
                                           {"dataset", &Sample::dataset},
                                           {"language", &Sample::language},
                                           {"_id", &Sample::id}}};

const Field* FindField(std::string_view name) {
  for (const Field& field : kFields) {
    if (field.name == name) return &field;
  }
  return nullptr;
}

// Walks over a template as Python's str.format reads it: `literal` gets its plain text, `field` its placeholders.
template <typename Literal, typename Placeholder>
absl::Status ForEachPart(std::string_view text, const Literal& literal, const Placeholder& placeholder) {
  while (!text.empty()) {
    const size_t brace = text.find_first_of("{}");
    literal(text.substr(0, brace));
    if (brace == std::string_view::npos) return absl::OkStatus();
    text.remove_prefix(brace);
    if (text.size() > 1 && text[1] == text[0]) {
      literal(text.substr(0, 1));
      text.remove_prefix(2);
      continue;
    }
    const size_t end = text.find('}');
    if (text[0] == '}' || end == std::string_view::npos) {
      return absl::InvalidArgumentError(
          absl::StrCat("a single '", ToAbsl(text.substr(0, 1)), "'; write it twice for a brace"));
    }
    const std::string_view name = text.substr(1, end - 1);
    const Field* field = FindField(name);
    if (field == nullptr) {
      return absl::InvalidArgumentError(absl::StrCat("unknown placeholder {", absl::Utf8SafeCEscape(ToAbsl(name)),
                                                     "}; expected {context}, {input}, {dataset}, {language} or {_id}"));
    }
    placeholder(*field);
    text.remove_prefix(end + 1);
  }
  return absl::OkStatus();
}

std::string Expand(std::string_view text, const Sample& sample) {
  std::string result;
  // Parse has checked the template.
  ForEachPart(
      text, [&](std::string_view literal) { result.append(literal); },
      [&](const Field& field) { result.append(sample.*field.value); })
      .IgnoreError();
  return result;
}

absl::StatusOr<std::string> TemplateText(const json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_string()) {
    return absl::InvalidArgumentError(absl::StrCat(key, ": expected a string"));
  }
  std::string text = found->get<std::string>();
  RETURN_IF_ERROR(Annotate(ForEachPart(
                               text, [](std::string_view) {}, [](const Field&) {}),
                           key));
  return text;
}

absl::StatusOr<int64_t> NewTokens(const json& object) {
  const auto found = object.find("max_new_tokens");
  if (found == object.end() || !found->is_number_integer() || found->get<int64_t>() < 1 ||
      found->get<int64_t>() > kMaxNewTokens) {
    return absl::InvalidArgumentError(
        absl::StrCat("max_new_tokens: expected a whole number from 1 to ", kMaxNewTokens));
  }
  return found->get<int64_t>();
}

absl::StatusOr<std::vector<std::string>> Stops(const json& object) {
  const json stops = object.value("stop", json::array());
  bool good = stops.is_array() && stops.size() <= kMaxStops;
  for (const json& stop : stops) good = good && stop.is_string() && !stop.get_ref<const std::string&>().empty();
  if (!good) {
    return absl::InvalidArgumentError(
        absl::StrCat("stop: expected a list of at most ", kMaxStops, " strings, none of them empty"));
  }
  return stops.get<std::vector<std::string>>();
}

absl::Status CheckKeys(const json& object) {
  static const std::set<std::string> known = {"context", "suffix", "max_new_tokens", "stop"};
  for (const auto& [key, value] : object.items()) {
    if (known.count(key) == 0) {
      return absl::InvalidArgumentError(absl::StrCat("unknown key \"", absl::Utf8SafeCEscape(key),
                                                     "\"; expected context, suffix, max_new_tokens, stop"));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<PromptTemplate> PromptTemplate::Load(const std::filesystem::path& path) {
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxPromptBytes));
  return Parse(text, path.string());
}

absl::StatusOr<PromptTemplate> PromptTemplate::Parse(std::string_view text, std::string_view name) {
  if (NestsTooDeep(text)) return absl::InvalidArgumentError(absl::StrCat(ToAbsl(name), ": nests too deep"));
  const json object = json::parse(text, /*cb=*/nullptr, /*allow_exceptions=*/false);
  if (!object.is_object()) return absl::InvalidArgumentError(absl::StrCat(ToAbsl(name), ": expected a JSON object"));
  const auto parse = [&]() -> absl::StatusOr<PromptTemplate> {
    PromptTemplate prompt;
    RETURN_IF_ERROR(CheckKeys(object));
    ASSIGN_OR_RETURN(prompt.context_, TemplateText(object, "context"));
    ASSIGN_OR_RETURN(prompt.suffix_, TemplateText(object, "suffix"));
    ASSIGN_OR_RETURN(prompt.max_new_tokens_, NewTokens(object));
    ASSIGN_OR_RETURN(prompt.stop_, Stops(object));
    return prompt;
  };
  absl::StatusOr<PromptTemplate> prompt = parse();
  if (!prompt.ok()) return Annotate(prompt.status(), name);
  return prompt;
}

std::string PromptTemplate::Context(const Sample& sample) const {
  return Expand(context_, sample);
}

std::string PromptTemplate::Suffix(const Sample& sample) const {
  return Expand(suffix_, sample);
}

}  // namespace droidspeak
