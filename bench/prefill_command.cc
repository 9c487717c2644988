// SPDX-License-Identifier: Apache-2.0
// `droidspeak-bench prefill`: partial prefill with everything fetched from servers, against the ideal of the same
// engine.
#include <algorithm>
#include <iostream>
#include <map>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "bench/command.h"
#include "bench/report.h"
#include "common/base/malloc.h"
#include "common/base/status.h"
#include "common/transport/transport.h"
#include "engine/prefill/fill_context.h"
#include "engine/prefill/ideal.h"
#include "engine/prefill/partial_prefill.h"
#include "engine/prefill/sequence.h"
#include "engine/prefill/server_source.h"

namespace droidspeak::bench {
namespace {

constexpr double kTarget = 0.8;  // of ideal, cores shared with the server

struct PrefillOptions {
  std::string model, servers, dtype = "bf16", transport = "ucx";
  std::vector<std::string> plans = {"0,6,10", "0,4,12"};
  int64_t context = 2048, suffix = 32, block_tokens = 256;
  int repeats = 5;
  bool json = false;
};

// One model on both sides: how long a prefill takes doesn't depend on the numbers.
class PrefillLoad {
 public:
  static absl::StatusOr<std::unique_ptr<PrefillLoad>> Create(const PrefillOptions& options);

  [[nodiscard]] const Model& model() const { return *model_; }
  // Seconds to the first token's logits.
  absl::StatusOr<double> Full() { return Time(Plan::Full(model_->config().layers), nullptr); }
  absl::StatusOr<double> Ideal(const Plan& plan);
  absl::StatusOr<double> Served(const Plan& plan);

 private:
  absl::StatusOr<double> Time(const Plan& plan, ContextSource* source);

  PrefillOptions options_;
  std::shared_ptr<const Model> model_;
  std::unique_ptr<RemoteCache> cache_;
  NamespaceHandle sender_;
  Sequence sequence_;
  std::vector<int32_t> tokens_;
};

absl::StatusOr<std::unique_ptr<PrefillLoad>> PrefillLoad::Create(const PrefillOptions& options) {
  auto load = std::make_unique<PrefillLoad>();
  load->options_ = options;
  ASSIGN_OR_RETURN(const Dtype dtype, ParseDtype(options.dtype));
  ClientOptions client;
  client.transport = options.transport;
  ASSIGN_OR_RETURN(client.servers, ParseServers(options.servers));
  ASSIGN_OR_RETURN(std::unique_ptr<Client> connected, Client::Connect(client));
  load->cache_ = std::make_unique<RemoteCache>(std::move(connected));
  ASSIGN_OR_RETURN(load->model_, Model::Load(options.model, dtype));
  const ModelConfig& config = load->model_->config();
  std::mt19937 random(1);
  load->tokens_.resize(options.context + options.suffix);
  for (int32_t& token : load->tokens_) token = static_cast<int32_t>(random() % config.vocab_size);
  ASSIGN_OR_RETURN(const ModelNamespaces namespaces,
                   load->cache_->OpenModel(options.model, config, dtype, options.block_tokens));
  std::vector<int64_t> layers(config.layers);
  std::iota(layers.begin(), layers.end(), 0);
  const auto context = absl::MakeConstSpan(load->tokens_).subspan(0, options.context);
  const int64_t reach = static_cast<int64_t>(load->tokens_.size());
  const NamespaceHandle* const ns = namespaces.For(reach);
  if (ns == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat("a context of ", options.context, " tokens of ", options.model,
                                                   " is not cached: its RoPE depends on the sequence's length"));
  }
  load->sender_ = *ns;
  RETURN_IF_ERROR(
      FillContext(*load->cache_, *load->model_, namespaces, {.tokens = context, .reach = reach, .e_layers = layers})
          .status());
  ASSIGN_OR_RETURN(load->sequence_, Sequence::Create(*load->model_, static_cast<int64_t>(load->tokens_.size())));
  return load;
}

absl::StatusOr<double> PrefillLoad::Time(const Plan& plan, ContextSource* source) {
  ASSIGN_OR_RETURN(const PrefillResult result,
                   PartialPrefill(*model_, *sequence_.slab,
                                  {.tokens = tokens_, .run = sequence_.run, .plan = plan, .source = source}));
  if (source != nullptr && result.context_tokens != options_.context) {
    return absl::UnavailableError(absl::StrCat("plan ", plan.text(), ": ", result.context_tokens, " of ",
                                               options_.context, " context tokens came: ", result.fallback));
  }
  return absl::ToDoubleSeconds(result.total_time);
}

absl::StatusOr<double> PrefillLoad::Ideal(const Plan& plan) {
  IdealSource source(options_.context, model_->config().hidden_size, model_->dtype());
  return Time(plan, &source);
}

absl::StatusOr<double> PrefillLoad::Served(const Plan& plan) {
  ServerSourceOptions options;
  options.tokens = absl::MakeConstSpan(tokens_).subspan(0, options_.context);
  options.sender = sender_;
  ServerSource source(*cache_, options);
  return Time(plan, &source);
}

struct PlanSamples {
  std::vector<double> ideal_ms, served_ms, of_ideal;
};

absl::Status Measure(PrefillLoad& load, const std::vector<Plan>& plans, int repeats, std::vector<double>& full_ms,
                     std::map<std::string, PlanSamples>& samples) {
  for (int round = -1; round < repeats; ++round) {  // the first round warms up
    ASSIGN_OR_RETURN(const double full, load.Full());
    if (round >= 0) full_ms.push_back(1e3 * full);
    for (const Plan& plan : plans) {
      ASSIGN_OR_RETURN(const double ideal, load.Ideal(plan));
      ASSIGN_OR_RETURN(const double served, load.Served(plan));
      if (round < 0) continue;
      PlanSamples& of_plan = samples[plan.text()];
      of_plan.ideal_ms.push_back(1e3 * ideal);
      of_plan.served_ms.push_back(1e3 * served);
      of_plan.of_ideal.push_back(ideal / served);
    }
  }
  return absl::OkStatus();
}

absl::Status RunPrefill(const PrefillOptions& options) {
  ASSIGN_OR_RETURN(const std::unique_ptr<PrefillLoad> load, PrefillLoad::Create(options));
  std::vector<Plan> plans;
  for (const std::string& text : options.plans) {
    ASSIGN_OR_RETURN(Plan plan, Plan::ParseTriple(text, load->model().config().layers));
    plans.push_back(std::move(plan));
  }
  std::vector<double> full_ms;
  std::map<std::string, PlanSamples> samples;
  RETURN_IF_ERROR(Measure(*load, plans, options.repeats, full_ms, samples));

  Report report("partial-prefill");
  report.Setting("context_tokens", options.context);
  report.Setting("suffix_tokens", options.suffix);
  report.Setting("block_tokens", options.block_tokens);
  report.Setting("dtype", options.dtype);
  report.Setting("transport", options.transport);
  report.Setting("layers", load->model().config().layers);
  report.Setting("repeats", options.repeats);
  report.Result("full", "ms", full_ms);
  for (const Plan& plan : plans) {
    const PlanSamples& of_plan = samples[plan.text()];
    const std::string name = absl::StrCat(plan.text(), " (", plan.recomputed_layers(), " layers recomputed)");
    report.Result(absl::StrCat(name, ", fetched"), "ms", of_plan.served_ms);
    report.Result(absl::StrCat(name, ", ideal"), "ms", of_plan.ideal_ms);
    const std::string ratio = absl::StrCat("prefill/ideal r=", plan.recomputed_layers(), " plan=", plan.text());
    report.Ratio(ratio, Median(of_plan.of_ideal));
    report.Target(ratio, kTarget);
    report.Ratio(absl::StrCat("full/prefill plan=", plan.text()), Median(full_ms) / Median(of_plan.served_ms));
  }
  report.Baseline(full_ms);
  report.Print(options.json);
  return absl::OkStatus();
}

}  // namespace

Command AddPrefillCommand(CLI::App& app) {
  CLI::App* const command =
      app.add_subcommand("prefill", "Partial prefill, everything fetched from servers, against the engine's ideal");
  auto* const options = new PrefillOptions;  // lives as long as the program
  command->add_option("--model", options->model, "Checkpoint, sender and receiver at once")->required();
  command->add_option("--servers", options->servers, "[NAME=]HOST:PORT,...")->required();
  std::vector<std::string> transports = TransportNames();
  transports.insert(transports.begin(), "auto");
  command->add_option("--transport", options->transport, "auto, local, verbs, tcp or ucx")
      ->check(CLI::IsMember(transports));
  command->add_option("--dtype", options->dtype, "fp32 or bf16")->check(CLI::IsMember({"fp32", "bf16"}));
  command->add_option("--plan", options->plans, "Plans a,b,c")->allow_extra_args(false)->take_all();
  command->add_option("--context", options->context, "Tokens of the context")->check(CLI::Range(1, 1 << 20));
  command->add_option("--suffix", options->suffix, "Tokens after it")->check(CLI::Range(1, 1 << 20));
  command->add_option("--block-tokens", options->block_tokens, "Tokens of a block")->check(CLI::Range(1, 4096));
  command->add_option("--repeats", options->repeats, "Rounds measured")->check(CLI::Range(1, 1000));
  command->add_flag("--json", options->json, "One JSON object");
  return {command, [options] {
            KeepAllFreedBuffers();
            const absl::Status measured = RunPrefill(*options);
            if (measured.ok()) return kExitOk;
            std::cerr << "prefill: " << measured << "\n";
            return kExitFailed;
          }};
}

}  // namespace droidspeak::bench
