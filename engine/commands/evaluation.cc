// SPDX-License-Identifier: Apache-2.0
#include "engine/commands/evaluation.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status.h"
#include "engine/commands/evaluation_progress.h"
#include "engine/dataset/bootstrap.h"
#include "engine/dataset/f1.h"
#include "engine/prefill/ideal.h"

namespace droidspeak {
namespace {

// Of how many questions the ideal time is measured, and how often at least in all.
constexpr int64_t kIdealQuestions = 32;
constexpr int64_t kIdealRuns = 3;

}  // namespace

Evaluation::Evaluation(Pair& pair, const Answerer& answerer, const Plan& plan, const std::vector<Question>& questions,
                       bool whole_prompt)
    : pair_(pair),
      answerer_(answerer),
      plan_(plan),
      full_plan_(Plan::Full(plan.layers())),
      questions_(questions),
      whole_prompt_(whole_prompt) {}

// At least one token stays in the suffix.
absl::Span<const int32_t> Evaluation::Context(const Question& question) const {
  const int64_t most = static_cast<int64_t>(question.tokens.size()) - 1;
  const int64_t wanted = whole_prompt_ ? most : std::min(question.context_tokens, most);
  const int64_t usable = plan_.is_full() ? wanted : pair_.UsableContext(question.tokens, wanted);
  return absl::MakeConstSpan(question.tokens).subspan(0, usable);
}

absl::StatusOr<Answered> Evaluation::Ask(const Question& question, const AskRequest& request) const {
  Answered answered;
  ASSIGN_OR_RETURN(answered.first, answerer_.Prefill(request));
  ASSIGN_OR_RETURN(answered.text, answerer_.Decode(request, answered.first.token));
  answered.f1 = F1(answered.text, question.sample.answers);
  return answered;
}

// In the slots where the full prefill of the same question has just left its rows.
absl::StatusOr<double> Evaluation::IdealMs(const Question& question) {
  const Model& model = pair_.receiver();
  const int64_t context = static_cast<int64_t>(Context(question).size());
  const int64_t count = static_cast<int64_t>(questions_.size());
  std::vector<double> times;
  for (int64_t run = 0; run < std::max<int64_t>(1, (kIdealRuns + count - 1) / count); ++run) {
    auto source = std::make_unique<IdealSource>(context, model.config().hidden_size, model.dtype());
    const AskRequest request{
        .tokens = question.tokens, .reach = question.reach, .sequence = &full_, .plan = &plan_, .source = [&] {
          return std::move(source);
        }};
    ASSIGN_OR_RETURN(const FirstToken first, answerer_.Prefill(request));
    times.push_back(first.ttft_ms);
  }
  return Quantile(times, 0.5);
}

absl::StatusOr<QuestionResult> Evaluation::RunQuestion(const Question& question, bool plan_first) {
  const absl::Span<const int32_t> context = Context(question);
  const AskRequest full{.tokens = question.tokens, .reach = question.reach, .sequence = &full_, .plan = &full_plan_};
  const AskRequest reusing{
      .tokens = question.tokens, .reach = question.reach, .sequence = &reusing_, .plan = &plan_, .source = [&] {
        return pair_.Source(context, question.reach);
      }};
  QuestionResult result;
  result.offered = static_cast<int64_t>(context.size());
  if (plan_.is_full()) {
    ASSIGN_OR_RETURN(result.full, Ask(question, full));
    result.plan = result.full;
    return result;
  }
  if (pair_.servers() == nullptr) RETURN_IF_ERROR(pair_.Prepare(context, question.reach, {plan_}));
  if (plan_first) {
    ASSIGN_OR_RETURN(result.plan, Ask(question, reusing));
  }
  ASSIGN_OR_RETURN(result.full, Ask(question, full));
  if (ideal_left_ > 0) {
    --ideal_left_;
    ASSIGN_OR_RETURN(result.ideal_ms, IdealMs(question));
  }
  if (!plan_first) {
    ASSIGN_OR_RETURN(result.plan, Ask(question, reusing));
  }
  return result;
}

// The longest question, so that all memory that others need is there afterwards.
absl::Status Evaluation::WarmUp(int64_t max_new_tokens) {
  const Model& model = pair_.receiver();
  const auto by_length = [](const Question& a, const Question& b) { return a.tokens.size() < b.tokens.size(); };
  const Question& longest = *std::max_element(questions_.begin(), questions_.end(), by_length);
  const int64_t slots = static_cast<int64_t>(longest.tokens.size()) + max_new_tokens;
  ASSIGN_OR_RETURN(full_, Sequence::Create(model, slots));
  if (!plan_.is_full()) {
    ASSIGN_OR_RETURN(reusing_, Sequence::Create(model, slots));
  }
  return Annotate(RunQuestion(longest, /*plan_first=*/false).status(), absl::StrCat("question ", longest.sample.id));
}

absl::StatusOr<std::vector<QuestionResult>> Evaluation::Run(int64_t max_new_tokens) {
  RETURN_IF_ERROR(WarmUp(max_new_tokens));
  ideal_left_ = kIdealQuestions;
  Progress progress("questions", static_cast<int64_t>(questions_.size()));
  std::vector<QuestionResult> results;
  for (const Question& question : questions_) {
    absl::StatusOr<QuestionResult> result = RunQuestion(question, /*plan_first=*/results.size() % 2 == 1);
    if (!result.ok()) return Annotate(result.status(), absl::StrCat("question ", question.sample.id));
    results.push_back(*std::move(result));
    progress.Advance();
  }
  return results;
}

}  // namespace droidspeak
