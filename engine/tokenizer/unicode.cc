// SPDX-License-Identifier: Apache-2.0
#include "engine/tokenizer/unicode.h"

#include <algorithm>
#include <cstdint>

#include "engine/tokenizer/rust_api.h"
#include "engine/tokenizer/rust_text.h"

namespace droidspeak {

std::string Lowercase(std::string_view text) {
  return std::string(RustText(ds_lowercase(RustBytes(text), text.size())).view());
}

bool IsWordCharacter(char32_t character) {
  return ds_is_word_character(character);
}

bool IsSpace(char32_t character) {
  return ds_is_space(character);
}

char32_t PopCharacter(std::string_view& text) {
  const auto first = static_cast<uint8_t>(text.front());
  const size_t size = first < 0x80 ? 1 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
  const size_t taken = std::min(size, text.size());
  char32_t character = size == 1 ? first : first & (0xFF >> (size + 1));
  for (size_t i = 1; i < taken; ++i) character = character << 6 | (static_cast<uint8_t>(text[i]) & 0x3F);
  text.remove_prefix(taken);
  return character;
}

}  // namespace droidspeak
