// SPDX-License-Identifier: Apache-2.0
// How a question of a data set becomes a prompt.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/dataset/dataset.h"

namespace droidspeak {

// The file given by --prompt: {"context":"{context}","suffix":" {input}","max_new_tokens":32,"stop":["\n"]}.
// {context}, {input}, {dataset}, {language}, {_id} stand for fields of the question; {{ and }} for braces.
// A prompt's ids are encode(Context(sample), with special tokens) followed by encode(Suffix(sample), without).
// Immutable; thread-safe.
class PromptTemplate {
 public:
  // Unknown keys and placeholders, missing keys and wrong types are InvalidArgument naming them and the file.
  [[nodiscard]] static absl::StatusOr<PromptTemplate> Load(const std::filesystem::path& path);
  [[nodiscard]] static absl::StatusOr<PromptTemplate> Parse(std::string_view json, std::string_view name);

  std::string Context(const Sample& sample) const;
  std::string Suffix(const Sample& sample) const;
  int64_t max_new_tokens() const { return max_new_tokens_; }
  const std::vector<std::string>& stop() const { return stop_; }  // may be empty

 private:
  PromptTemplate() = default;

  std::string context_;
  std::string suffix_;
  int64_t max_new_tokens_ = 0;
  std::vector<std::string> stop_;
};

}  // namespace droidspeak
