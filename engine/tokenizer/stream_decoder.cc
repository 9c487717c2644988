// SPDX-License-Identifier: Apache-2.0
#include "engine/tokenizer/stream_decoder.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "common/base/status.h"

namespace droidspeak {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";  // U+FFFD

// A character takes at most four tokens of one byte, a joined emoji some ten characters. What is held longer is
// garbage, or has no text; without a limit decoding it again with every token would take quadratic time.
constexpr size_t kMaxHeldTokens = 64;

// `text` up to the last character that is not U+FFFD: those at its end may still become characters.
std::string_view Settled(std::string_view text) {
  while (text.ends_with(kReplacement)) text.remove_suffix(kReplacement.size());
  return text;
}

// What of `text` follows after `emitted`. If part of what was emitted has since turned into U+FFFD, one for each byte,
// those that stand for emitted bytes are left out.
std::string Unemitted(std::string_view text, std::string_view emitted) {
  size_t common = std::mismatch(text.begin(), text.end(), emitted.begin(), emitted.end()).first - text.begin();
  while (common > 0 && common < text.size() && (text[common] & 0xC0) == 0x80) --common;  // not inside a character
  text.remove_prefix(common);
  for (size_t bytes = emitted.size() - common; bytes > 0 && text.starts_with(kReplacement); --bytes) {
    text.remove_prefix(kReplacement.size());
  }
  return std::string(text);
}

}  // namespace

StreamDecoder::StreamDecoder(const Tokenizer& tokenizer, bool skip_special_tokens)
    : tokenizer_(tokenizer), skip_special_tokens_(skip_special_tokens) {}

absl::StatusOr<std::string> StreamDecoder::Push(int32_t id) {
  window_.push_back(id);
  ASSIGN_OR_RETURN(const std::string text, tokenizer_.Decode(window_, skip_special_tokens_));
  if (window_.size() - held_from_ >= kMaxHeldTokens) {
    if (!Unemitted(text, emitted_).empty()) return Finish();
    window_.resize(held_from_);  // tokens without text, such as special ones
    return std::string();
  }
  const std::string_view settled = Settled(text);
  if (std::string_view(emitted_).starts_with(settled))
    return std::string();  // nothing new, or finished characters turned back

  std::string piece = Unemitted(settled, emitted_);
  emitted_ = settled;
  if (settled.size() == text.size() && !piece.empty()) {
    // No token straddles this point: keep the last piece's tokens only. They stay because a decoder may treat the first
    // token of a text in a special way (a leading blank is dropped), and that must not befall the next one.
    window_.erase(window_.begin(), window_.begin() + static_cast<ptrdiff_t>(held_from_));
    held_from_ = window_.size();
    ASSIGN_OR_RETURN(emitted_, tokenizer_.Decode(window_, skip_special_tokens_));
  }
  return piece;
}

absl::StatusOr<std::string> StreamDecoder::Finish() {
  ASSIGN_OR_RETURN(const std::string text, tokenizer_.Decode(window_, skip_special_tokens_));
  std::string piece = Unemitted(text, emitted_);
  window_.clear();
  held_from_ = 0;
  emitted_.clear();
  return piece;
}

}  // namespace droidspeak
