// SPDX-License-Identifier: Apache-2.0
// What ends an answer: end-of-sequence ids of the model, stop strings of the request.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace droidspeak {

// `eos_token_id` (one id or a list) of `directory`/generation_config.json, else of config.json; empty if neither says.
// InvalidArgument naming the file if one is not JSON or the value is of another type.
[[nodiscard]] absl::StatusOr<std::vector<int32_t>> ReadEosIds(const std::filesystem::path& directory);

// Cuts streamed text before the first stop string, also one that spans several pieces: text that may be the beginning
// of a stop string is held back. Not thread-safe.
class StopMatcher {
 public:
  explicit StopMatcher(std::vector<std::string> stops);  // empty strings are ignored

  // The text to show for `piece`; empty once stopped() is true.
  std::string Push(std::string_view piece);

  // What was held back, when the answer ends for another reason.
  std::string Finish();

  bool stopped() const { return stopped_; }

 private:
  std::vector<std::string> stops_;
  std::string held_;
  bool stopped_ = false;
};

}  // namespace droidspeak
