// SPDX-License-Identifier: Apache-2.0
// droidspeak-engine fill: a sender reads the contexts of a data set and leaves its KV and E on the cache servers.
#include <cstdio>
#include <iostream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/base/status.h"
#include "engine/commands/command.h"
#include "engine/commands/evaluation_progress.h"
#include "engine/commands/evaluation_questions.h"
#include "engine/commands/options.h"
#include "engine/prefill/fill_context.h"
#include "nlohmann/json.hpp"

namespace droidspeak {
namespace {

class Fill : public Command {
 public:
  explicit Fill(CLI::App& program);
  CLI::App* app() const override { return app_; }
  absl::Status Run() override;

 private:
  struct Totals {
    int64_t contexts = 0, tokens = 0, computed_tokens = 0;
    int64_t uncacheable = 0;  // contexts of no use to any other question
    double seconds = 0;
  };

  absl::StatusOr<Totals> FillAll(const Model& model, const Tokenizer& tokenizer, const PromptTemplate& prompt,
                                 std::vector<Sample> samples) const;
  void Print(const Totals& totals) const;

  CLI::App* app_;
  EngineOptions engine_;
  std::string model_, dataset_, prompt_, keep_e_ = "all";
  int64_t limit_ = 0;
  bool durable_ = false, json_ = false;
};

Fill::Fill(CLI::App& program)
    : app_(program.add_subcommand("fill", "let a sender read a data set's contexts, and store its cache")) {
  app_->add_option("--model", model_, "DIR[+ADAPTER_DIR] of the sender")->required();
  app_->add_option("--dataset", dataset_, "questions in LongBench's JSONL")->required()->type_name("FILE");
  app_->add_option("--prompt", prompt_, "prompt template (JSON)")->required()->type_name("FILE");
  app_->add_option("--keep-e", keep_e_, "layers to store E of: all, none or 4,12")
      ->type_name("LAYERS")
      ->capture_default_str();
  app_->add_option("--limit", limit_, "only the first N lines (0: all)")->check(CLI::NonNegativeNumber);
  app_->add_flag("--durable", durable_, "end when everything would survive a crash of the servers");
  engine_.AddTo(*app_);
  app_->get_option("--servers")->required();
  app_->add_flag("--json", json_, "print one JSON object");
}

absl::StatusOr<Fill::Totals> Fill::FillAll(const Model& model, const Tokenizer& tokenizer, const PromptTemplate& prompt,
                                           std::vector<Sample> samples) const {
  ASSIGN_OR_RETURN(const std::vector<int64_t> e_layers, ParseKeepE(keep_e_, model.config().layers));
  ASSIGN_OR_RETURN(const std::vector<Question> questions,
                   EncodeQuestions(tokenizer, prompt, std::move(samples), model.config(), ReadAs::kSender));
  ASSIGN_OR_RETURN(const std::unique_ptr<RemoteCache> servers, RemoteCache::Connect(engine_.servers, engine_.tls));
  ASSIGN_OR_RETURN(const ModelNamespaces namespaces,
                   servers->OpenModel(model_, model.config(), model.dtype(), engine_.block_tokens));
  Progress progress("contexts", static_cast<int64_t>(questions.size()));
  Totals totals;
  for (const Question& question : questions) {
    progress.Advance();
    if (namespaces.For(question.reach) == nullptr) {
      ++totals.uncacheable;
      continue;
    }
    const absl::StatusOr<int64_t> computed =
        FillContext(*servers, model, namespaces,
                    {.tokens = absl::MakeConstSpan(question.tokens).subspan(0, question.context_tokens),
                     .reach = question.reach,
                     .e_layers = e_layers,
                     .durable = durable_});
    if (!computed.ok()) {
      return Annotate(computed.status(), absl::StrCat("storing the context of question ", question.sample.id, " (",
                                                      totals.contexts, " contexts before it are stored)"));
    }
    ++totals.contexts;
    totals.tokens += question.context_tokens / engine_.block_tokens * engine_.block_tokens;
    totals.computed_tokens += *computed;
  }
  totals.seconds = progress.Seconds();
  return totals;
}

absl::Status Fill::Run() {
  ASSIGN_OR_RETURN(const Dtype dtype, engine_.ParsedDtype());
  if (const auto addresses = ParseServers(engine_.servers); !addresses.ok()) {
    return UsageStatus(absl::StrCat("--servers: ", addresses.status().message()));
  }
  ASSIGN_OR_RETURN(const PromptTemplate prompt, PromptTemplate::Load(prompt_));
  ASSIGN_OR_RETURN(std::vector<Sample> samples, ReadDataset(dataset_, limit_));
  ASSIGN_OR_RETURN(const std::shared_ptr<const Model> model, Model::Load(model_, dtype));
  ASSIGN_OR_RETURN(const std::unique_ptr<Tokenizer> tokenizer, LoadTokenizer(model->path().dir));
  ASSIGN_OR_RETURN(const Totals totals, FillAll(*model, *tokenizer, prompt, std::move(samples)));
  Print(totals);
  return absl::OkStatus();
}

void Fill::Print(const Totals& totals) const {
  const double rate = totals.seconds > 0 ? static_cast<double>(totals.computed_tokens) / totals.seconds : 0;
  if (json_) {
    nlohmann::ordered_json report;
    report["contexts"] = totals.contexts;
    report["tokens"] = totals.tokens;
    report["computed_tokens"] = totals.computed_tokens;
    report["uncacheable_contexts"] = totals.uncacheable;
    report["seconds"] = totals.seconds;
    report["tokens_per_second"] = rate;
    std::cout << report.dump() << std::endl;
    return;
  }
  absl::PrintF("%d contexts stored, %d tokens in full blocks; %d of them computed now, in %.1f s (%.0f a second)\n",
               totals.contexts, totals.tokens, totals.computed_tokens, totals.seconds, rate);
  if (totals.uncacheable > 0) {
    absl::PrintF(
        "%d contexts not stored: with the questions they are so long that this model's RoPE (dynamic) depends on "
        "the length, and none could use them\n",
        totals.uncacheable);
  }
}

}  // namespace

std::unique_ptr<Command> MakeFill(CLI::App& program) {
  return std::make_unique<Fill>(program);
}

}  // namespace droidspeak
