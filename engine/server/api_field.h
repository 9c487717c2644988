// SPDX-License-Identifier: Apache-2.0
// Reading the fields of an API request so that every error names the field and what was expected.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "nlohmann/json.hpp"

namespace droidspeak {

// Fields of any object in a body. An ordered object is searched from its beginning for each field that it gets: without
// a limit, a body of many names takes time that grows with their square.
inline constexpr int64_t kMostJsonFields = 256;

// Parses a body as one JSON object. INVALID_ARGUMENT says at which byte it stops being JSON in UTF-8, or which limit it
// breaks.
[[nodiscard]] absl::StatusOr<nlohmann::ordered_json> ParseApiBody(std::string_view body);

// A field of a body, at any depth. References to what its reader holds; lives on the stack.
struct ApiField {
  const std::string& name;  // as errors tell it: "messages[0].role"
  nlohmann::ordered_json& value;
};

// INVALID_ARGUMENT "NAME: expected EXPECTED, not VALUE".
[[nodiscard]] absl::Status Expected(const ApiField& field, std::string_view expected);

// The values. Other types are refused: 1.0 is no integer, 1 is no boolean.
[[nodiscard]] absl::StatusOr<int64_t> IntegerOf(const ApiField& field, int64_t low, int64_t high);
[[nodiscard]] absl::StatusOr<double> NumberOf(const ApiField& field);
[[nodiscard]] absl::StatusOr<bool> BooleanOf(const ApiField& field);
[[nodiscard]] absl::StatusOr<std::string> StringOf(const ApiField& field);  // moved out of the field

// OK if the value is null or in `supported`, a JSON list.
[[nodiscard]] absl::Status CheckSupported(const ApiField& field, const char* supported);

// "unknown field". A long name is cut.
[[nodiscard]] absl::Status UnknownField(const std::string& name);

}  // namespace droidspeak
