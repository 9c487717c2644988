// SPDX-License-Identifier: Apache-2.0
// `droidspeak-engine generate`: the answer to one prompt.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <iostream>
#include <random>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "common/base/files.h"
#include "common/base/log.h"
#include "common/base/status.h"
#include "engine/commands/command.h"
#include "engine/commands/options.h"
#include "engine/commands/pair.h"
#include "engine/prefill/decode.h"
#include "engine/prefill/sequence.h"
#include "engine/prefill/store_back.h"
#include "engine/tokenizer/stop.h"
#include "engine/tokenizer/tokenizer.h"
#include "nlohmann/json.hpp"

namespace droidspeak {
namespace {

constexpr uint64_t kMaxPromptBytes = 64 << 20;
constexpr absl::Duration kSealTimeout = absl::Seconds(60);

// The subcommand: its options, and the run that they ask for. Used by one thread.
class Generate : public Command {
 public:
  explicit Generate(CLI::App& program);
  CLI::App* app() const override { return app_; }
  absl::Status Run() override;

 private:
  struct Answer {
    std::vector<int32_t> tokens;
    int64_t context_tokens = 0;
  };

  absl::Status CheckOptions() const;
  absl::StatusOr<std::vector<int32_t>> Prompt(const Tokenizer* tokenizer) const;
  absl::StatusOr<std::unique_ptr<StoreBack>> OwnStore(Pair& pair, const std::vector<int32_t>& tokens, const Plan& plan,
                                                      int64_t context) const;
  // Of the sequence (rope_config.h).
  int64_t Reach(const std::vector<int32_t>& tokens) const {
    return static_cast<int64_t>(tokens.size()) + max_tokens_ - 1;
  }
  absl::StatusOr<Answer> Run(Pair& pair, const std::vector<int32_t>& tokens, const Plan& plan) const;
  absl::Status Print(const Answer& answer, const Plan& plan, const Tokenizer* tokenizer) const;

  CLI::App* app_;
  EngineOptions engine_;
  PlanOptions plans_;
  std::string model_, prompt_, prompt_file_, tokens_, sender_;
  CLI::Option* context_option_;
  int64_t max_tokens_ = 128, context_ = 0;
  double temperature_ = 0;
  bool ignore_eos_ = false, json_ = false;
};

Generate::Generate(CLI::App& program) : app_(program.add_subcommand("generate", "answer one prompt")) {
  app_->add_option("--model", model_, "DIR[+ADAPTER_DIR] of the model (the receiver)")->required();
  CLI::Option* prompt = app_->add_option("--prompt", prompt_, "the prompt");
  CLI::Option* file = app_->add_option("--prompt-file", prompt_file_, "file with the prompt");
  CLI::Option* tokens = app_->add_option("--tokens", tokens_, "safetensors file with one 1-D tensor of token ids");
  prompt->excludes(file)->excludes(tokens);
  file->excludes(tokens);
  app_->add_option("--max-tokens", max_tokens_, "tokens to generate at most")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app_->add_option("--temperature", temperature_, "0 takes the likeliest token")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  app_->add_flag("--ignore-eos", ignore_eos_, "go on after an end-of-sequence token");
  app_->add_option("--sender", sender_, "DIR[+ADAPTER_DIR] of the model that reads the context");
  context_option_ = app_->add_option("--context", context_, "leading tokens that are context (all but the last)");
  context_option_->check(CLI::PositiveNumber);
  plans_.AddTo(*app_, /*repeatable=*/false);
  engine_.AddTo(*app_);
  app_->add_flag("--json", json_, "print one JSON object");
}

absl::Status Generate::CheckOptions() const {
  if (!std::isfinite(temperature_)) return UsageStatus("--temperature: expected a finite number of 0 or more");
  if (app_->count("--prompt") + app_->count("--prompt-file") + app_->count("--tokens") == 0) {
    return UsageStatus("one of --prompt, --prompt-file and --tokens is needed");
  }
  if (sender_.empty() && !plans_.empty()) return UsageStatus("--plan and --runs need --sender");
  if (sender_.empty() && context_ != 0) return UsageStatus("--context needs --sender");
  if (!sender_.empty() && plans_.empty()) return UsageStatus("--sender needs --plan or --runs");
  if (!engine_.servers.empty() && context_ % engine_.block_tokens != 0) {
    return UsageStatus(absl::StrCat("--context ", context_, " is no multiple of the block of ", engine_.block_tokens,
                                    " tokens, as it has to be with --servers"));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<int32_t>> Generate::Prompt(const Tokenizer* tokenizer) const {
  if (!tokens_.empty()) {
    ASSIGN_OR_RETURN(std::vector<NamedTokens> all, ReadTokens(tokens_));
    if (all.size() == 1) return std::move(all[0].tokens);
    return absl::InvalidArgumentError(absl::StrCat(tokens_, " has ", all.size(), " tensors; expected exactly one"));
  }
  if (tokenizer == nullptr) {
    return absl::FailedPreconditionError(absl::StrCat(model_, " has no tokenizer.json; expected one, or --tokens"));
  }
  std::string text = prompt_;
  if (!prompt_file_.empty()) {
    ASSIGN_OR_RETURN(text, ReadFile(prompt_file_, kMaxPromptBytes));
  }
  absl::StatusOr<std::vector<int32_t>> ids = tokenizer->Encode(text, /*add_special_tokens=*/true);
  if (!ids.ok()) return Annotate(ids.status(), prompt_file_.empty() ? "--prompt" : prompt_file_);
  return ids;
}

absl::Status Generate::Run() {
  RETURN_IF_ERROR(CheckOptions());
  ASSIGN_OR_RETURN(
      const std::unique_ptr<Pair> pair,
      Pair::Open(
          {.engine = engine_, .receiver = model_, .sender = sender_, .run_sender = true, .use_own_cache = true}));
  const Model& model = pair->receiver();
  ASSIGN_OR_RETURN(std::vector<Plan> plans, plans_.Parse(model.config().layers));
  const Plan plan = plans.empty() ? Plan::Full(model.config().layers) : plans[0];
  std::unique_ptr<Tokenizer> tokenizer;
  if (Tokenizer::Exists(model.path().dir)) {
    ASSIGN_OR_RETURN(tokenizer, Tokenizer::Load(model.path().dir));
  }
  ASSIGN_OR_RETURN(const std::vector<int32_t> tokens, Prompt(tokenizer.get()));
  RETURN_IF_ERROR(CheckTokens("the prompt", tokens, max_tokens_, model.config()));
  if (context_ >= static_cast<int64_t>(tokens.size())) {
    return UsageStatus(absl::StrCat("--context ", context_, " leaves nothing of the prompt's ", tokens.size(),
                                    " tokens; expected less"));
  }
  ASSIGN_OR_RETURN(const Answer answer, Run(*pair, tokens, plan));
  return Print(answer, plan, tokenizer.get());
}

// Where the model's own exact tensors of this request go; null without servers. Under a plan only the leading
// recomputed layers of the context are exact.
absl::StatusOr<std::unique_ptr<StoreBack>> Generate::OwnStore(Pair& pair, const std::vector<int32_t>& tokens,
                                                              const Plan& plan, int64_t context) const {
  const NamespaceHandle* const ns = pair.own_namespace(Reach(tokens));
  if (ns == nullptr || plan.exact_layers() == 0) return nullptr;
  std::vector<int64_t> layers;
  for (int64_t layer = 0; layer < plan.exact_layers(); ++layer) layers.push_back(layer);
  const int64_t exact_rows = plan.is_full() ? static_cast<int64_t>(tokens.size()) : context;
  return StoreBack::Start(*pair.servers(), pair.receiver().config(), absl::MakeConstSpan(tokens).subspan(0, exact_rows),
                          {.ns = *ns, .kv_layers = layers, .e_layers = layers});
}

absl::StatusOr<Generate::Answer> Generate::Run(Pair& pair, const std::vector<int32_t>& tokens, const Plan& plan) const {
  const Model& model = pair.receiver();
  const int64_t length = static_cast<int64_t>(tokens.size());
  const int64_t reach = Reach(tokens);
  const int64_t context = pair.UsableContext(tokens, context_ > 0 ? context_ : length - 1);
  const absl::Span<const int32_t> context_tokens = absl::MakeConstSpan(tokens).subspan(0, context);
  if (pair.has_sender() && !plan.is_full()) RETURN_IF_ERROR(pair.Prepare(context_tokens, reach, {plan}));
  const std::unique_ptr<ContextSource> source = pair.Source(context_tokens, reach);
  ASSIGN_OR_RETURN(const std::unique_ptr<StoreBack> store, OwnStore(pair, tokens, plan, context));
  ASSIGN_OR_RETURN(Sequence sequence, Sequence::Create(model, length + max_tokens_));
  ASSIGN_OR_RETURN(const PrefillResult prefill, PartialPrefill(model, *sequence.slab,
                                                               {.tokens = tokens,
                                                                .run = sequence.run,
                                                                .reach = reach,
                                                                .plan = plan,
                                                                .source = source.get(),
                                                                .capture = store.get()}));
  Sampler sampler({.temperature = temperature_, .seed = std::random_device()()});
  const bool exact = store != nullptr && plan.is_full();
  DecodeRequest request{.run = sequence.run,
                        .reach = reach,
                        .position = length,
                        .first = sampler.Choose(LastRow(prefill.logits)).token,
                        .max_tokens = max_tokens_,
                        .capture = exact ? store.get() : nullptr};
  ASSIGN_OR_RETURN(std::vector<int32_t> eos, ReadEosIds(model.path().dir));
  request.on_token = [&](int32_t token) {
    if (exact) store->Append(absl::MakeConstSpan(&token, 1));
    return ignore_eos_ || std::find(eos.begin(), eos.end(), token) == eos.end();
  };
  Answer answer{.context_tokens = prefill.context_tokens};
  ASSIGN_OR_RETURN(answer.tokens, Decode(model, *sequence.slab, sampler, request));
  if (store != nullptr)
    store->Finish(/*durable=*/false, absl::Now() + kSealTimeout).IgnoreError();  // it has logged why
  return answer;
}

absl::Status Generate::Print(const Answer& answer, const Plan& plan, const Tokenizer* tokenizer) const {
  nlohmann::json text = nullptr;
  if (tokenizer != nullptr) {
    ASSIGN_OR_RETURN(text, tokenizer->Decode(answer.tokens, /*skip_special_tokens=*/true));
  }
  if (json_) {
    const nlohmann::json result = {
        {"tokens", answer.tokens}, {"text", text}, {"plan", plan.text()}, {"context_tokens", answer.context_tokens}};
    std::cout << result.dump() << std::endl;
  } else if (tokenizer != nullptr) {
    std::cout << text.get<std::string>() << std::endl;
  } else {
    std::cout << absl::StrJoin(answer.tokens, " ") << std::endl;
  }
  return absl::OkStatus();
}

}  // namespace

std::unique_ptr<Command> MakeGenerate(CLI::App& program) {
  return std::make_unique<Generate>(program);
}

}  // namespace droidspeak
