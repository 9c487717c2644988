// SPDX-License-Identifier: Apache-2.0
#include "common/base/hex.h"

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/base/text.h"

namespace droidspeak {

std::string ToHex(std::string_view bytes) {
  return absl::BytesToHexString(ToAbsl(bytes));
}

absl::StatusOr<std::string> FromHex(std::string_view hex) {
  if (hex.size() % 2 != 0) {
    return absl::InvalidArgumentError(absl::StrCat("hexadecimal text has ", hex.size(), " digits, expected pairs"));
  }
  for (size_t i = 0; i < hex.size(); ++i) {
    if (!absl::ascii_isxdigit(static_cast<unsigned char>(hex[i]))) {
      return absl::InvalidArgumentError(absl::StrCat("character ", i + 1, " is not a hexadecimal digit"));
    }
  }
  return absl::HexStringToBytes(ToAbsl(hex));
}

}  // namespace droidspeak
