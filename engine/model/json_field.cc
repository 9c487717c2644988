// SPDX-License-Identifier: Apache-2.0
#include "engine/model/json_field.h"

#include <cmath>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/base/json_depth.h"
#include "common/base/status.h"
#include "common/base/text.h"

namespace droidspeak {

using Json = nlohmann::ordered_json;

absl::StatusOr<Json> ParseJsonObject(absl::string_view text, absl::string_view source) {
  if (NestsTooDeep(ToStd(text))) {
    return absl::InvalidArgumentError(absl::StrCat(source, ": nested deeper than ", kMaxJsonDepth, " levels"));
  }
  Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded()) return absl::InvalidArgumentError(absl::StrCat(source, ": not valid JSON"));
  if (!json.is_object()) return absl::InvalidArgumentError(absl::StrCat(source, ": expected a JSON object"));
  return json;
}

std::string ShowJson(const Json& value) {
  std::string text = value.dump(-1, ' ', true, Json::error_handler_t::replace);
  if (text.size() > 60) text = absl::StrCat(text.substr(0, 60), "...");
  return text;
}

const Json* JsonFields::Find(const std::string& field) const {
  const auto found = object_.find(field);
  return found == object_.end() || found->is_null() ? nullptr : &*found;
}

absl::Status JsonFields::Unexpected(const std::string& field, absl::string_view expected) const {
  const Json* value = Find(field);
  return absl::InvalidArgumentError(absl::StrCat(
      source_, ": field '", field, "' is ", value == nullptr ? "missing" : ShowJson(*value), "; expected ", expected));
}

absl::StatusOr<int64_t> JsonFields::Integer(const std::string& field, int64_t fallback, int64_t low,
                                            int64_t high) const {
  const Json* value = Find(field);
  if (value == nullptr) return fallback;
  const bool fits =
      value->is_number_unsigned() ? value->get<uint64_t>() <= static_cast<uint64_t>(high) : value->is_number_integer();
  if (!fits || value->get<int64_t>() < low || value->get<int64_t>() > high) {
    return Unexpected(field, absl::StrCat("an integer from ", low, " to ", high));
  }
  return value->get<int64_t>();
}

absl::StatusOr<int64_t> JsonFields::RequiredInteger(const std::string& field, int64_t low, int64_t high) const {
  if (Find(field) == nullptr) return Unexpected(field, absl::StrCat("an integer from ", low, " to ", high));
  return Integer(field, 0, low, high);
}

absl::StatusOr<double> JsonFields::Number(const std::string& field, double fallback) const {
  const Json* value = Find(field);
  if (value == nullptr) return fallback;
  if (!value->is_number() || !std::isfinite(value->get<double>())) return Unexpected(field, "a finite number");
  return value->get<double>();
}

absl::StatusOr<bool> JsonFields::Boolean(const std::string& field, bool fallback) const {
  const Json* value = Find(field);
  if (value == nullptr) return fallback;
  if (!value->is_boolean()) return Unexpected(field, "true or false");
  return value->get<bool>();
}

absl::StatusOr<std::string> JsonFields::String(const std::string& field, absl::string_view fallback) const {
  const Json* value = Find(field);
  if (value == nullptr) return std::string(fallback);
  if (!value->is_string()) return Unexpected(field, "a string");
  return value->get<std::string>();
}

}  // namespace droidspeak
