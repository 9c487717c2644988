// SPDX-License-Identifier: Apache-2.0
// Text to token ids and back, exactly as Hugging Face's tokenizers does: a thin wrapper of that Rust library.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"

struct DsTokenizer;  // rust_api.h

namespace droidspeak {

// The tokenizer of one model, read from its tokenizer.json. Truncation and padding settings in that file are ignored,
// as transformers does unless asked. Immutable after loading; all methods are thread-safe.
class Tokenizer {
 public:
  // Whether a model's directory has a tokenizer.json.
  static bool Exists(const std::filesystem::path& directory);

  // Reads `directory`/tokenizer.json. NotFound if there is none, InvalidArgument naming the file if it cannot be used.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<Tokenizer>> Load(const std::filesystem::path& directory);

  ~Tokenizer();
  Tokenizer(const Tokenizer&) = delete;
  Tokenizer& operator=(const Tokenizer&) = delete;

  // Token ids of UTF-8 `text`; `add_special_tokens` puts in what the model expects around a text (usually BOS first).
  // Special tokens spelled out in the text become their ids either way. InvalidArgument if `text` is not UTF-8.
  [[nodiscard]] absl::StatusOr<std::vector<int32_t>> Encode(std::string_view text, bool add_special_tokens) const;

  // UTF-8 text of `ids`; what is no character comes out as U+FFFD. InvalidArgument if an id is negative; ids without a
  // token are left out.
  [[nodiscard]] absl::StatusOr<std::string> Decode(absl::Span<const int32_t> ids, bool skip_special_tokens) const;

  // The vocabulary's spelling of one token ("Ġthe", "<0x0A>"); nullopt where the vocabulary has a hole or ends.
  std::optional<std::string> TokenString(int32_t id) const;

  // One more than the highest id, added tokens included (a model's embedding may have more rows).
  int32_t vocabulary_size() const { return vocabulary_size_; }

 private:
  Tokenizer(DsTokenizer* handle, int32_t vocabulary_size) : handle_(handle), vocabulary_size_(vocabulary_size) {}

  DsTokenizer* handle_;  // owned
  int32_t vocabulary_size_;
};

}  // namespace droidspeak
