// SPDX-License-Identifier: Apache-2.0
// Text of a growing answer, token by token.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/tokenizer/tokenizer.h"

namespace droidspeak {

// Turns ids into text as they come, emitting whole characters only: a character spread over several tokens waits for
// its last one. All pieces together equal Tokenizer::Decode of all ids, with one exception: where a run of byte tokens
// turns out invalid after part of it was emitted, that part stays and the rest is one U+FFFD a byte (Decode replaces
// the whole run). Borrows the tokenizer; not thread-safe.
class StreamDecoder {
 public:
  StreamDecoder(const Tokenizer& tokenizer, bool skip_special_tokens);

  // The text that became final with `id`; often empty.
  [[nodiscard]] absl::StatusOr<std::string> Push(int32_t id);

  // What was held back; an unfinished character comes out as U+FFFD. The decoder is empty afterwards.
  [[nodiscard]] absl::StatusOr<std::string> Finish();

 private:
  const Tokenizer& tokenizer_;
  const bool skip_special_tokens_;
  std::vector<int32_t> window_;  // the tokens of the last emitted piece, then those after it
  size_t held_from_ = 0;         // first token of window_ that came after the last emitted piece
  std::string emitted_;          // what of the window's text is emitted
};

}  // namespace droidspeak
