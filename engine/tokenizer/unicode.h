// SPDX-License-Identifier: Apache-2.0
// The few properties of characters that scoring needs, by Unicode's tables and whatever the locale.
#pragma once

#include <string>
#include <string_view>

namespace droidspeak {

// Lower case of UTF-8 text, as Python's str.lower; bytes that are no UTF-8 become U+FFFD.
std::string Lowercase(std::string_view text);

bool IsWordCharacter(char32_t character);  // letter, digit or '_', as Python's \w
bool IsSpace(char32_t character);

// Takes the first character off `text`, which must be non-empty UTF-8 as Lowercase returns it.
char32_t PopCharacter(std::string_view& text);

}  // namespace droidspeak
