// SPDX-License-Identifier: Apache-2.0
// Questions of a data set as token ids: what `fill` and `evaluate` read, and must read alike.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/dataset/dataset.h"
#include "engine/dataset/prompt.h"
#include "engine/model/config.h"
#include "engine/tokenizer/tokenizer.h"

namespace droidspeak {

// One question, ready to be asked.
struct Question {
  Sample sample;
  std::vector<int32_t> tokens;  // of the context part, with special tokens, then of the suffix part
  int64_t context_tokens = 0;   // of the context part
};

// Ids of the context part. Errors name the question; `config` is of the model that reads it.
[[nodiscard]] absl::StatusOr<std::vector<int32_t>> EncodeContext(const Tokenizer& tokenizer,
                                                                 const PromptTemplate& prompt, const Sample& sample,
                                                                 const ModelConfig& config);

// All of them. A prompt that doesn't fit the model's positions with its answer is a usage error.
[[nodiscard]] absl::StatusOr<std::vector<Question>> EncodeQuestions(const Tokenizer& tokenizer,
                                                                    const PromptTemplate& prompt,
                                                                    std::vector<Sample> samples,
                                                                    const ModelConfig& config);

// The tokenizer of the model in `dir`, which has to have one.
[[nodiscard]] absl::StatusOr<std::unique_ptr<Tokenizer>> LoadTokenizer(const std::string& dir);

}  // namespace droidspeak
