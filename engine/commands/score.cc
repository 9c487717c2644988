// SPDX-License-Identifier: Apache-2.0
// `droidspeak-engine score`: logits of token sequences, by full prefill or under plans.
#include "engine/model/score.h"

#include <algorithm>
#include <deque>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/log.h"
#include "common/base/status.h"
#include "engine/commands/command.h"
#include "engine/commands/options.h"
#include "engine/commands/pair.h"
#include "engine/model/safetensors.h"
#include "engine/prefill/sequence.h"

namespace droidspeak {
namespace {

// F32 tensors on their way to a file.
class Output {
 public:
  void Add(std::string name, const at::Tensor& values) {
    kept_.push_back(values.contiguous());
    const at::Tensor& kept = kept_.back();
    const auto* bytes = static_cast<const std::byte*>(kept.const_data_ptr());
    tensors_.push_back(
        {std::move(name), "F32", kept.sizes().vec(), absl::MakeConstSpan(bytes, static_cast<size_t>(kept.nbytes()))});
  }
  absl::Status Write(const std::string& path) const { return WriteSafetensors(path, tensors_); }

 private:
  std::deque<at::Tensor> kept_;
  std::vector<TensorToWrite> tensors_;
};

// The subcommand: its options, and the run that they ask for. Used by one thread.
class Score : public Command {
 public:
  explicit Score(CLI::App& program);
  CLI::App* app() const override { return app_; }
  absl::Status Run() override;

 private:
  absl::Status CheckOptions() const;
  absl::Status CheckOutputs() const;
  absl::Status CheckPrompt(const Pair& pair, const NamedTokens& prompt) const;
  absl::Status ScoreFull(const Model& model, const std::vector<NamedTokens>& prompts, Output& output) const;
  absl::Status ScorePlans(Pair& pair, const std::vector<NamedTokens>& prompts, Output& output) const;
  absl::Status ScorePlan(Pair& pair, const NamedTokens& prompt, int64_t context, const Plan& plan,
                         Output& output) const;

  CLI::App* app_;
  EngineOptions engine_;
  PlanOptions plans_;
  std::string model_, tokens_, out_, dump_cache_, sender_;
  bool all_positions_ = false;
  int64_t context_ = 0;
};

Score::Score(CLI::App& program)
    : app_(program.add_subcommand("score", "logits of token sequences, by full prefill or under plans")) {
  app_->add_option("--model", model_, "DIR[+ADAPTER_DIR] of the model (the receiver)")->required();
  app_->add_option("--tokens", tokens_, "safetensors file of 1-D I64 or I32 tensors of token ids")->required();
  app_->add_option("--out", out_, "safetensors file to write: F32 logits of each tensor's last position")->required();
  app_->add_flag("--all-positions", all_positions_, "logits of all positions");
  app_->add_option("--dump-cache", dump_cache_, "safetensors file to write: E, K (before RoPE) and V of all layers");
  app_->add_option("--sender", sender_, "DIR[+ADAPTER_DIR] of the model that reads the context");
  app_->add_option("--context", context_, "leading tokens that are context")->check(CLI::PositiveNumber);
  plans_.AddTo(*app_, /*repeatable=*/true);
  engine_.AddTo(*app_);
}

absl::Status Score::CheckOutputs() const {
  if (dump_cache_ == out_) return UsageStatus(absl::StrCat("--out and --dump-cache both name ", out_));
  std::vector<std::string> plans = plans_.triples;
  plans.insert(plans.end(), plans_.runs.begin(), plans_.runs.end());
  std::sort(plans.begin(), plans.end());
  if (const auto twice = std::adjacent_find(plans.begin(), plans.end()); twice != plans.end()) {
    return UsageStatus(absl::StrCat("plan ", *twice, " is given twice: its outputs would have one name"));
  }
  RETURN_IF_ERROR(CheckFolderOf("--out", out_));
  return dump_cache_.empty() ? absl::OkStatus() : CheckFolderOf("--dump-cache", dump_cache_);
}

absl::Status Score::CheckOptions() const {
  if (sender_.empty()) {
    if (!plans_.empty()) return UsageStatus("--plan and --runs need --sender");
    if (context_ != 0) return UsageStatus("--context needs --sender");
    if (!engine_.servers.empty()) return UsageStatus("--servers needs --sender");
    return absl::OkStatus();
  }
  if (plans_.empty()) return UsageStatus("--sender needs --plan or --runs");
  if (context_ == 0) return UsageStatus("--sender needs --context");
  if (!engine_.servers.empty() && context_ % engine_.block_tokens != 0) {
    return UsageStatus(absl::StrCat("--context ", context_, " is no multiple of the block of ", engine_.block_tokens,
                                    " tokens, as it has to be with --servers"));
  }
  return absl::OkStatus();
}

absl::Status Score::CheckPrompt(const Pair& pair, const NamedTokens& prompt) const {
  RETURN_IF_ERROR(CheckTokens(absl::StrCat(tokens_, ": ", prompt.name), prompt.tokens, 0, pair.receiver().config()));
  if (context_ < static_cast<int64_t>(prompt.tokens.size())) return absl::OkStatus();
  return UsageStatus(absl::StrCat("--context ", context_, " leaves nothing of the ", prompt.tokens.size(),
                                  " tokens of ", prompt.name, "; expected less"));
}

absl::Status Score::Run() {
  RETURN_IF_ERROR(CheckOptions());
  RETURN_IF_ERROR(CheckOutputs());
  ASSIGN_OR_RETURN(const std::vector<NamedTokens> prompts, ReadTokens(tokens_));
  ASSIGN_OR_RETURN(const std::unique_ptr<Pair> pair,
                   Pair::Open({.engine = engine_, .receiver = model_, .sender = sender_}));
  for (const NamedTokens& prompt : prompts) RETURN_IF_ERROR(CheckPrompt(*pair, prompt));

  Output output, cache;
  if (sender_.empty()) {
    RETURN_IF_ERROR(ScoreFull(pair->receiver(), prompts, output));
  } else {
    RETURN_IF_ERROR(ScorePlans(*pair, prompts, output));
  }
  for (const NamedTokens& prompt : prompts) {
    if (dump_cache_.empty()) break;
    ASSIGN_OR_RETURN(const CacheDump dump, DumpCache(pair->receiver(), prompt.tokens));
    cache.Add(prompt.name + ".E", dump.e);
    cache.Add(prompt.name + ".K", dump.k);
    cache.Add(prompt.name + ".V", dump.v);
  }
  if (!dump_cache_.empty()) RETURN_IF_ERROR(cache.Write(dump_cache_));
  return output.Write(out_);
}

absl::Status Score::ScoreFull(const Model& model, const std::vector<NamedTokens>& prompts, Output& output) const {
  for (const NamedTokens& prompt : prompts) {
    ASSIGN_OR_RETURN(const at::Tensor logits, ScoreTokens(model, prompt.tokens, all_positions_));
    output.Add(prompt.name, logits);
  }
  return absl::OkStatus();
}

absl::Status Score::ScorePlans(Pair& pair, const std::vector<NamedTokens>& prompts, Output& output) const {
  ASSIGN_OR_RETURN(const std::vector<Plan> plans, plans_.Parse(pair.receiver().config().layers));
  for (const NamedTokens& prompt : prompts) {
    const int64_t context = pair.UsableContext(prompt.tokens, context_);
    const int64_t reach = static_cast<int64_t>(prompt.tokens.size());
    RETURN_IF_ERROR(pair.Prepare(absl::MakeConstSpan(prompt.tokens).subspan(0, context), reach, plans));
    for (const Plan& plan : plans) RETURN_IF_ERROR(ScorePlan(pair, prompt, context, plan, output));
  }
  return absl::OkStatus();
}

absl::Status Score::ScorePlan(Pair& pair, const NamedTokens& prompt, int64_t context, const Plan& plan,
                              Output& output) const {
  const Model& model = pair.receiver();
  const int64_t length = static_cast<int64_t>(prompt.tokens.size());
  ASSIGN_OR_RETURN(Sequence sequence, Sequence::Create(model, length));
  const std::unique_ptr<ContextSource> source =
      pair.Source(absl::MakeConstSpan(prompt.tokens).subspan(0, context), length);
  ASSIGN_OR_RETURN(const PrefillResult result, PartialPrefill(model, *sequence.slab,
                                                              {.tokens = prompt.tokens,
                                                               .run = sequence.run,
                                                               .plan = plan,
                                                               .source = source.get(),
                                                               .first_wanted = all_positions_ ? context_ : -1}));
  if (!plan.is_full() && result.context_tokens < context_) {
    spdlog::warn("{}: {} of {} context tokens were reused {}", prompt.name, result.context_tokens, context_,
                 result.fallback);
  }
  output.Add(absl::StrCat(prompt.name, "@", plan.text()), all_positions_ ? result.logits : result.logits[-1]);
  return absl::OkStatus();
}

}  // namespace

std::unique_ptr<Command> MakeScore(CLI::App& program) {
  return std::make_unique<Score>(program);
}

}  // namespace droidspeak
