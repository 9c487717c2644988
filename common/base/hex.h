// SPDX-License-Identifier: Apache-2.0
// Hexadecimal text of bytes.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace droidspeak {

// Two lower-case digits a byte.
std::string ToHex(std::string_view bytes);

// The bytes of `hex`, digits of either case. INVALID_ARGUMENT for an odd length or another character, naming its place.
[[nodiscard]] absl::StatusOr<std::string> FromHex(std::string_view hex);

}  // namespace droidspeak
