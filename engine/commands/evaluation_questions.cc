// SPDX-License-Identifier: Apache-2.0
#include "engine/commands/evaluation_questions.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status.h"
#include "engine/commands/options.h"

namespace droidspeak {
namespace {

std::string Name(const Sample& sample) {
  return absl::StrCat("question ", sample.id);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> LoadTokenizer(const std::string& dir) {
  if (Tokenizer::Exists(dir)) return Tokenizer::Load(dir);
  return absl::NotFoundError(absl::StrCat(dir, " has no tokenizer.json, which texts need"));
}

absl::StatusOr<std::vector<int32_t>> EncodeContext(const Tokenizer& tokenizer, const PromptTemplate& prompt,
                                                   const Sample& sample, const ModelConfig& config) {
  absl::StatusOr<std::vector<int32_t>> tokens = tokenizer.Encode(prompt.Context(sample), /*add_special_tokens=*/true);
  if (!tokens.ok()) return Annotate(tokens.status(), Name(sample));
  if (!tokens->empty()) RETURN_IF_ERROR(CheckTokens(Name(sample), *tokens, 0, config));
  return tokens;
}

absl::StatusOr<std::vector<Question>> EncodeQuestions(const Tokenizer& tokenizer, const PromptTemplate& prompt,
                                                      std::vector<Sample> samples, const ModelConfig& config) {
  std::vector<Question> questions;
  questions.reserve(samples.size());
  for (Sample& sample : samples) {
    Question question;
    ASSIGN_OR_RETURN(question.tokens, EncodeContext(tokenizer, prompt, sample, config));
    question.context_tokens = static_cast<int64_t>(question.tokens.size());
    const absl::StatusOr<std::vector<int32_t>> suffix =
        tokenizer.Encode(prompt.Suffix(sample), /*add_special_tokens=*/false);
    if (!suffix.ok()) return Annotate(suffix.status(), Name(sample));
    question.tokens.insert(question.tokens.end(), suffix->begin(), suffix->end());
    RETURN_IF_ERROR(CheckTokens(Name(sample), question.tokens, prompt.max_new_tokens(), config));
    question.sample = std::move(sample);
    questions.push_back(std::move(question));
  }
  return questions;
}

}  // namespace droidspeak
