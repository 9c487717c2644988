// SPDX-License-Identifier: Apache-2.0
// `droidspeak-bench storing`: what storing costs the engine that computes.
#include <algorithm>
#include <cmath>
#include <iostream>
#include <memory>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "bench/cache/site.h"
#include "bench/command.h"
#include "bench/report.h"
#include "bench/storing/load.h"
#include "common/base/malloc.h"
#include "common/base/status.h"

namespace droidspeak::bench {
namespace {

// Of an engine that stores nothing.
constexpr double kTtftTarget = 1 / 1.03, kTpotTarget = 1 / 1.02;

struct StoringOptions {
  StoringShape shape;
  CacheOptions cache;
};

double Mean(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

// Of single answers, or of the rounds' means.
struct Costs {
  std::vector<double> ttft_ms, tpot_ms, cpu_ms;

  void Add(const Costs& round) {
    ttft_ms.push_back(Mean(round.ttft_ms));
    tpot_ms.push_back(Mean(round.tpot_ms));
    cpu_ms.push_back(Mean(round.cpu_ms));
  }
};

absl::Status Ask(StoringLoad& load, const CacheSite& site, bool stores, Costs& costs) {
  const double cpu = site.CpuSeconds();
  ASSIGN_OR_RETURN(const AnswerTimes times, load.Answer(stores));
  costs.cpu_ms.push_back(1e3 * (site.CpuSeconds() - cpu));
  costs.ttft_ms.push_back(times.ttft_ms);
  costs.tpot_ms.push_back(times.tpot_ms);
  return absl::OkStatus();
}

// Two answers of each kind a round, in an order in which a machine that grows slower, or faster, favours neither.
absl::Status Measure(StoringLoad& load, const CacheSite& site, int repeats, Costs& without, Costs& stores) {
  for (int round = -1; round < repeats; ++round) {  // the first round warms up
    const bool outer = round % 2 == 0;              // whether the first and the last one store
    Costs round_without, round_stores;
    for (const bool stored : {outer, !outer, !outer, outer}) {
      RETURN_IF_ERROR(Ask(load, site, stored, stored ? round_stores : round_without));
    }
    std::cerr << "storing: round " << round + 1 << " of " << repeats << ": TTFT " << Mean(round_without.ttft_ms)
              << " ms, and " << Mean(round_stores.ttft_ms) << " ms with storing\n";
    if (round < 0) continue;
    without.Add(round_without);
    stores.Add(round_stores);
  }
  return absl::OkStatus();
}

// The median of the rounds' ratios, and between which values it lies in 95 of 100 such runs: by the ranks that a
// binomial distribution has.
void AddRatio(Report& report, const std::string& name, const std::vector<double>& without,
              const std::vector<double>& stores) {
  std::vector<double> ratios;
  for (size_t i = 0; i < without.size(); ++i) ratios.push_back(without[i] / stores[i]);
  const double off = 0.98 / std::sqrt(static_cast<double>(ratios.size()));
  report.Ratio(name, Median(ratios));
  report.Ratio(name + ", 95 % from", Quantile(ratios, std::max(0.0, 0.5 - off)));
  report.Ratio(name + ", 95 % to", Quantile(ratios, std::min(1.0, 0.5 + off)));
}

absl::Status RunStoring(const StoringOptions& options) {
  const StoringShape& shape = options.shape;
  ASSIGN_OR_RETURN(const int64_t bytes, StoredBytes(shape));
  // Room for all of the run, and for what is not extents.
  const int64_t answers = 2 * (options.cache.repeats + 1) + 1;
  ASSIGN_OR_RETURN(const std::unique_ptr<CacheSite> site, CacheSite::Open(options.cache, bytes * answers * 11 / 10));
  ASSIGN_OR_RETURN(std::unique_ptr<Client> client, site->Connect(/*verify_checksums=*/true));
  ASSIGN_OR_RETURN(const std::unique_ptr<StoringLoad> load, StoringLoad::Start(shape, std::move(client)));
  Costs without, stores;
  RETURN_IF_ERROR(Measure(*load, *site, options.cache.repeats, without, stores));

  Report report("storing");
  Describe(options.cache, report);
  report.Setting("dtype", shape.dtype);
  report.Setting("keep_e", shape.keep_e);
  report.Setting("prompt_tokens", shape.prompt_tokens);
  report.Setting("answer_tokens", shape.answer_tokens);
  report.Setting("block_tokens", shape.block_tokens);
  report.Setting("stored_bytes_a_prompt", bytes);
  for (const auto& [name, costs] : {std::pair<const char*, const Costs*>{"none", &without}, {"stores", &stores}}) {
    report.Result(absl::StrCat(name, ": TTFT"), "ms", costs->ttft_ms);
    report.Result(absl::StrCat(name, ": TPOT"), "ms", costs->tpot_ms);
    report.Result(absl::StrCat(name, ": processor time of an answer, all threads and the server"), "ms", costs->cpu_ms);
  }
  AddRatio(report, "none/stores, TTFT", without.ttft_ms, stores.ttft_ms);
  report.Target("none/stores, TTFT", kTtftTarget);
  AddRatio(report, "none/stores, TPOT", without.tpot_ms, stores.tpot_ms);
  report.Target("none/stores, TPOT", kTpotTarget);
  AddRatio(report, "none/stores, processor time", without.cpu_ms, stores.cpu_ms);
  report.Baseline(without.ttft_ms);
  report.Print(options.cache.json);
  return absl::OkStatus();
}

}  // namespace

Command AddStoringCommand(CLI::App& app) {
  CLI::App* const command = app.add_subcommand(
      "storing", "What storing costs an engine: TTFT and TPOT of the same process with and without it, in turn");
  auto* const options = new StoringOptions;  // lives as long as the program
  StoringShape& shape = options->shape;
  command->add_option("--model", shape.model, "Checkpoint")->required();
  command->add_option("--keep-e", shape.keep_e, "Layers to store E of: all, none or 4,12")->type_name("LAYERS");
  command->add_option("--dtype", shape.dtype, "fp32 or bf16")->check(CLI::IsMember({"fp32", "bf16"}));
  command->add_option("--prompt-tokens", shape.prompt_tokens, "Random ids in each")->check(CLI::Range(1, 1 << 20));
  command->add_option("--answer-tokens", shape.answer_tokens, "Tokens of each answer")->check(CLI::Range(2, 1 << 20));
  command->add_option("--block-tokens", shape.block_tokens, "Tokens of a block")->check(CLI::Range(1, 4096));
  AddCacheOptions(*command, options->cache);
  return {command, [options] {
            KeepAllFreedBuffers();
            const absl::Status measured = RunStoring(*options);
            if (measured.ok()) return kExitOk;
            std::cerr << "storing: " << measured.message() << "\n";
            return absl::IsInvalidArgument(measured) ? kExitUsage : kExitFailed;
          }};
}

}  // namespace droidspeak::bench
