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
  int64_t reach = 0;            // with the longest answer (rope_config.h)
};

// Who reads a question: all of it with its answer has to fit the model's positions, or its context part alone.
enum class ReadAs { kReceiver, kSender };

// All of them. One that doesn't fit the model of `config` is a usage error that names it.
[[nodiscard]] absl::StatusOr<std::vector<Question>> EncodeQuestions(const Tokenizer& tokenizer,
                                                                    const PromptTemplate& prompt,
                                                                    std::vector<Sample> samples,
                                                                    const ModelConfig& config, ReadAs reader);

// The tokenizer of the model in `dir`, which has to have one.
[[nodiscard]] absl::StatusOr<std::unique_ptr<Tokenizer>> LoadTokenizer(const std::string& dir);

}  // namespace droidspeak
