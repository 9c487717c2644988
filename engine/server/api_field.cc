// SPDX-License-Identifier: Apache-2.0
#include "engine/server/api_field.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/json_depth.h"
#include "common/base/status.h"
#include "common/base/text.h"
#include "engine/server/api_request.h"

namespace droidspeak {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kShownBytes = 60;  // of names and values that clients send, in messages

// Reads JSON without keeping it: says where it ends being JSON, and finds objects of too many fields.
class BodyChecker : public nlohmann::json_sax<Json> {
 public:
  bool null() override { return true; }
  bool boolean(bool /*value*/) override { return true; }
  bool number_integer(int64_t /*value*/) override { return true; }
  bool number_unsigned(uint64_t /*value*/) override { return true; }
  bool number_float(double /*value*/, const std::string& /*text*/) override { return true; }
  bool string(std::string& /*value*/) override { return true; }
  bool binary(Json::binary_t& /*value*/) override { return true; }
  bool start_array(size_t /*size*/) override { return true; }
  bool end_array() override { return true; }
  bool start_object(size_t /*size*/) override {
    fields_.push_back(0);
    return true;
  }
  bool key(std::string& /*name*/) override { return ++fields_.back() <= kMostJsonFields; }
  bool end_object() override {
    fields_.pop_back();
    return true;
  }
  bool parse_error(size_t position, const std::string& /*token*/, const nlohmann::detail::exception& /*why*/) override {
    error_position_ = position;
    return false;
  }

  // Counted from 1; 0 if it was JSON as far as it was read.
  [[nodiscard]] size_t error_position() const { return error_position_; }

 private:
  std::vector<int64_t> fields_;  // of each open object
  size_t error_position_ = 0;
};

absl::Status CheckJson(std::string_view body) {
  if (NestsTooDeep(body)) {
    return ParamError("", absl::StrCat("the body nests deeper than ", kMaxJsonDepth, " levels"));
  }
  BodyChecker checker;
  if (Json::sax_parse(body, &checker)) return absl::OkStatus();
  if (checker.error_position() == 0) {
    return ParamError("", absl::StrCat("the body has an object of more than ", kMostJsonFields, " fields"));
  }
  if (checker.error_position() > body.size()) {
    return ParamError("", absl::StrCat("the body is not valid JSON: it ends too early, after ", body.size(), " bytes"));
  }
  return ParamError("", absl::StrCat("the body is not valid JSON in UTF-8: unexpected at byte ",
                                     checker.error_position(), " of ", body.size()));
}

// Long texts are told by their type: they may be a prompt, which belongs in no log.
std::string Show(const Json& value) {
  if (value.is_array()) return value.empty() ? "an empty list" : "a list";
  if (value.is_object()) return "an object";
  if (value.is_string() && value.get_ref<const std::string&>().size() > kShownBytes) return "a long string";
  return value.dump(-1, ' ', /*ensure_ascii=*/true, Json::error_handler_t::replace);
}

}  // namespace

absl::StatusOr<Json> ParseApiBody(std::string_view body) {
  RETURN_IF_ERROR(CheckJson(body));
  Json json = Json::parse(body, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return ParamError("", "the body is not a JSON object");
  return json;
}

absl::Status Expected(const ApiField& field, std::string_view expected) {
  return ParamError(field.name, absl::StrCat("expected ", ToAbsl(expected), ", not ", Show(field.value)));
}

absl::StatusOr<int64_t> IntegerOf(const ApiField& field, int64_t low, int64_t high) {
  const Json& value = field.value;
  // Beyond int64_t's a value is unsigned, and beyond those it has become a float.
  const bool fits =
      value.is_number_unsigned() ? value.get<uint64_t>() <= static_cast<uint64_t>(high) : value.is_number_integer();
  if (!fits || value.get<int64_t>() < low || value.get<int64_t>() > high) {
    return Expected(field, absl::StrCat("an integer from ", low, " to ", high));
  }
  return value.get<int64_t>();
}

absl::StatusOr<double> NumberOf(const ApiField& field) {
  if (!field.value.is_number()) return Expected(field, "a number");
  return field.value.get<double>();
}

absl::StatusOr<bool> BooleanOf(const ApiField& field) {
  if (!field.value.is_boolean()) return Expected(field, "true or false");
  return field.value.get<bool>();
}

absl::StatusOr<std::string> StringOf(const ApiField& field) {
  if (!field.value.is_string()) return Expected(field, "a string");
  return std::move(field.value.get_ref<std::string&>());
}

absl::Status CheckSupported(const ApiField& field, const char* supported) {
  if (field.value.is_null()) return absl::OkStatus();
  std::string names = "null";
  for (const Json& one : Json::parse(supported)) {
    if (field.value == one) return absl::OkStatus();
    absl::StrAppend(&names, " or ", one.dump());
  }
  return Expected(field, absl::StrCat(names, " (no other is supported)"));
}

absl::Status UnknownField(const std::string& name) {
  size_t size = std::min(name.size(), kShownBytes);
  while (size < name.size() && (name[size] & 0xC0) == 0x80) --size;  // not within a character
  return ParamError(name.substr(0, size), "unknown field");
}

}  // namespace droidspeak
