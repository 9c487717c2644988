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

absl::StatusOr<Question> Encode(const Tokenizer& tokenizer, const PromptTemplate& prompt, const Sample& sample) {
  Question question;
  ASSIGN_OR_RETURN(question.tokens, tokenizer.Encode(prompt.Context(sample), /*add_special_tokens=*/true));
  question.context_tokens = static_cast<int64_t>(question.tokens.size());
  ASSIGN_OR_RETURN(const std::vector<int32_t> suffix,
                   tokenizer.Encode(prompt.Suffix(sample), /*add_special_tokens=*/false));
  question.tokens.insert(question.tokens.end(), suffix.begin(), suffix.end());
  question.reach = static_cast<int64_t>(question.tokens.size()) + prompt.max_new_tokens() - 1;
  return question;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> LoadTokenizer(const std::string& dir) {
  if (Tokenizer::Exists(dir)) return Tokenizer::Load(dir);
  return absl::NotFoundError(absl::StrCat(dir, " has no tokenizer.json, which texts need"));
}

absl::StatusOr<std::vector<Question>> EncodeQuestions(const Tokenizer& tokenizer, const PromptTemplate& prompt,
                                                      std::vector<Sample> samples, const ModelConfig& config,
                                                      ReadAs reader) {
  std::vector<Question> questions;
  questions.reserve(samples.size());
  for (Sample& sample : samples) {
    absl::StatusOr<Question> question = Encode(tokenizer, prompt, sample);
    if (!question.ok()) return Annotate(question.status(), Name(sample));
    const auto context = absl::MakeConstSpan(question->tokens).subspan(0, question->context_tokens);
    if (reader == ReadAs::kReceiver) {
      RETURN_IF_ERROR(CheckTokens(Name(sample), question->tokens, prompt.max_new_tokens(), config));
    } else if (!context.empty()) {
      RETURN_IF_ERROR(CheckTokens(Name(sample), context, 0, config));
    }
    question->sample = std::move(sample);
    questions.push_back(*std::move(question));
  }
  return questions;
}

}  // namespace droidspeak
