// SPDX-License-Identifier: Apache-2.0
// droidspeak-engine evaluate: quality and speed of a receiver that answers a data set from a sender's cache.
#include <iostream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/files.h"
#include "common/base/status.h"
#include "engine/commands/command.h"
#include "engine/commands/evaluation.h"
#include "engine/commands/evaluation_questions.h"
#include "engine/commands/evaluation_report.h"
#include "engine/commands/options.h"
#include "engine/commands/pair.h"
#include "nlohmann/json.hpp"

namespace droidspeak {
namespace {

class Evaluate : public Command {
 public:
  explicit Evaluate(CLI::App& program);
  CLI::App* app() const override { return app_; }
  absl::Status Run() override;

 private:
  absl::Status CheckOptions() const;
  absl::StatusOr<Plan> ChosenPlan(int64_t layers) const;
  absl::Status Report(const Plan& plan, const std::vector<Question>& questions,
                      const std::vector<QuestionResult>& results) const;

  CLI::App* app_;
  EngineOptions engine_;
  PlanOptions plans_;
  std::string receiver_, sender_, dataset_, prompt_, reuse_all_, predictions_;
  int64_t limit_ = 0;
  uint64_t seed_ = 0;
  bool full_ = false, json_ = false;
};

Evaluate::Evaluate(CLI::App& program)
    : app_(program.add_subcommand("evaluate", "measure answers of a receiver from a sender's cache")) {
  app_->add_option("--receiver", receiver_, "DIR[+ADAPTER_DIR] of the model that answers")->required();
  app_->add_option("--sender", sender_,
                   "DIR[+ADAPTER_DIR] of the model that read the contexts; not needed with --full");
  app_->add_option("--dataset", dataset_, "questions in LongBench's JSONL")->required()->type_name("FILE");
  app_->add_option("--prompt", prompt_, "prompt template (JSON)")->required()->type_name("FILE");
  app_->add_flag("--full", full_, "full prefill, nothing reused");
  app_->add_flag("--reuse-all{context}", reuse_all_,
                 "reuse all layers of the context, or with =prompt of all tokens but the last")
      ->check(CLI::IsMember({"context", "prompt"}));
  plans_.AddTo(*app_, /*repeatable=*/false);
  app_->add_option("--limit", limit_, "only the first N lines (0: all)")->check(CLI::NonNegativeNumber);
  app_->add_option("--seed", seed_, "of the bootstrap intervals")->capture_default_str();
  app_->add_option("--predictions", predictions_, "file to write each question's answer to, as JSONL")
      ->type_name("FILE");
  engine_.AddTo(*app_);
  app_->add_flag("--json", json_, "print one JSON object");
}

absl::Status Evaluate::CheckOptions() const {
  if (full_ + !reuse_all_.empty() + !plans_.empty() != 1) {
    return UsageStatus("expected one of --full, --reuse-all, --plan and --runs");
  }
  if (!full_ && sender_.empty()) return UsageStatus("--sender is needed unless with --full");
  return predictions_.empty() ? absl::OkStatus() : CheckFolderOf("--predictions", predictions_);
}

absl::StatusOr<Plan> Evaluate::ChosenPlan(int64_t layers) const {
  if (full_) return Plan::Full(layers);
  if (!reuse_all_.empty()) {
    return Plan::ReuseAll(layers, reuse_all_ == "prompt" ? "reuse-all=prompt" : "reuse-all");
  }
  ASSIGN_OR_RETURN(std::vector<Plan> plans, plans_.Parse(layers));
  return std::move(plans.front());
}

absl::Status Evaluate::Run() {
  RETURN_IF_ERROR(CheckOptions());
  ASSIGN_OR_RETURN(const PromptTemplate prompt, PromptTemplate::Load(prompt_));
  ASSIGN_OR_RETURN(std::vector<Sample> samples, ReadDataset(dataset_, limit_));
  ASSIGN_OR_RETURN(const std::unique_ptr<Pair> pair, Pair::Open({.engine = engine_,
                                                                 .receiver = receiver_,
                                                                 .sender = sender_,
                                                                 .run_sender = engine_.servers.empty() && !full_,
                                                                 .use_own_cache = false}));
  const Model& model = pair->receiver();
  ASSIGN_OR_RETURN(const Plan plan, ChosenPlan(model.config().layers));
  ASSIGN_OR_RETURN(const std::unique_ptr<Tokenizer> tokenizer, LoadTokenizer(model.path().dir));
  ASSIGN_OR_RETURN(const std::vector<Question> questions,
                   EncodeQuestions(*tokenizer, prompt, std::move(samples), model.config(), ReadAs::kReceiver));
  ASSIGN_OR_RETURN(const std::unique_ptr<Answerer> answerer, Answerer::Create(model, *tokenizer, prompt));
  Evaluation evaluation(*pair, *answerer, plan, questions, /*whole_prompt=*/reuse_all_ == "prompt");
  ASSIGN_OR_RETURN(const std::vector<QuestionResult> results, evaluation.Run(prompt.max_new_tokens()));
  return Report(plan, questions, results);
}

absl::Status Evaluate::Report(const Plan& plan, const std::vector<Question>& questions,
                              const std::vector<QuestionResult>& results) const {
  ASSIGN_OR_RETURN(const nlohmann::ordered_json report, EvaluationJson(plan, results, seed_));
  if (!predictions_.empty()) {
    RETURN_IF_ERROR(WriteFileAtomically(predictions_, PredictionLines(plan, questions, results)));
  }
  if (json_) {
    std::cout << report.dump() << std::endl;
  } else {
    std::cout << EvaluationTable(report) << std::flush;
  }
  return absl::OkStatus();
}

}  // namespace

std::unique_ptr<Command> MakeEvaluate(CLI::App& program) {
  return std::make_unique<Evaluate>(program);
}

}  // namespace droidspeak
