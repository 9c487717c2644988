// SPDX-License-Identifier: Apache-2.0
// The measuring loop of `evaluate`: every question answered by full prefill and by a plan, in turns, so that both see
// the same machine.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/commands/evaluation_answer.h"
#include "engine/commands/evaluation_questions.h"
#include "engine/commands/pair.h"

namespace droidspeak {

// How one question went one way.
struct Answered {
  FirstToken first;
  std::string text;
  double f1 = 0;
};

struct QuestionResult {
  Answered plan;
  Answered full;
  double ideal_ms = 0;  // TTFT of the plan when all it reuses is in place; 0 where it was not measured
  int64_t offered = 0;  // context tokens that the cache could have provided
};

// Borrows its arguments. Used once, by one thread.
class Evaluation {
 public:
  // `whole_prompt`: all but the last token is context, whatever the prompt template says.
  Evaluation(Pair& pair, const Answerer& answerer, const Plan& plan, const std::vector<Question>& questions,
             bool whole_prompt);

  // Results in the order of the questions. Without servers the sender reads each context first, untimed. With a full
  // plan each question is answered once. Holds two slabs of the longest prompt and answer.
  [[nodiscard]] absl::StatusOr<std::vector<QuestionResult>> Run(int64_t max_new_tokens);

 private:
  [[nodiscard]] absl::Span<const int32_t> Context(const Question& question) const;
  [[nodiscard]] absl::Status WarmUp(int64_t max_new_tokens);
  [[nodiscard]] absl::StatusOr<QuestionResult> RunQuestion(const Question& question, bool plan_first);
  [[nodiscard]] absl::StatusOr<Answered> Ask(const Question& question, const AskRequest& request) const;
  [[nodiscard]] absl::StatusOr<double> IdealMs(const Question& question);

  Pair& pair_;
  const Answerer& answerer_;
  const Plan& plan_;
  const Plan full_plan_;
  const std::vector<Question>& questions_;
  const bool whole_prompt_;
  // Apart, so that nothing that the full prefill left can pass for what the plan should have brought.
  Sequence full_, reusing_;
  int64_t ideal_left_ = 0;  // questions whose ideal time is still to be measured
};

}  // namespace droidspeak
