// SPDX-License-Identifier: Apache-2.0
// Reading fields of a JSON object so that every error names the file and the field.
#pragma once

#include <cstdint>
#include <limits>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "nlohmann/json.hpp"

namespace droidspeak {

// One JSON object of one file. A field that is null counts as absent, as in Hugging Face's files. Holds references to
// its arguments; a reader on the stack.
class JsonFields {
 public:
  JsonFields(const nlohmann::ordered_json& object, absl::string_view source) : object_(object), source_(source) {}

  // Whether the field stands there, be it null.
  [[nodiscard]] bool Has(const std::string& field) const { return object_.contains(field); }

  // The value, or nullptr when absent.
  [[nodiscard]] const nlohmann::ordered_json* Find(const std::string& field) const;

  // The value of `field`; `fallback` when absent. Wrong types and values outside [low, high] are refused.
  [[nodiscard]] absl::StatusOr<int64_t> Integer(const std::string& field, int64_t fallback, int64_t low,
                                                int64_t high) const;
  [[nodiscard]] absl::StatusOr<int64_t> RequiredInteger(const std::string& field, int64_t low, int64_t high) const;
  [[nodiscard]] absl::StatusOr<double> Number(const std::string& field, double fallback) const;
  [[nodiscard]] absl::StatusOr<bool> Boolean(const std::string& field, bool fallback) const;
  [[nodiscard]] absl::StatusOr<std::string> String(const std::string& field, absl::string_view fallback) const;

  // INVALID_ARGUMENT "SOURCE: field 'FIELD' is VALUE; expected EXPECTED".
  [[nodiscard]] absl::Status Unexpected(const std::string& field, absl::string_view expected) const;

  [[nodiscard]] absl::string_view source() const { return source_; }

 private:
  const nlohmann::ordered_json& object_;
  absl::string_view source_;
};

// Parses `text` as one JSON object; `source` names it in messages.
[[nodiscard]] absl::StatusOr<nlohmann::ordered_json> ParseJsonObject(absl::string_view text, absl::string_view source);

// A JSON value as messages show it: its text, cut after 60 characters.
[[nodiscard]] std::string ShowJson(const nlohmann::ordered_json& value);

}  // namespace droidspeak
