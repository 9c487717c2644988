// SPDX-License-Identifier: Apache-2.0
// `droidspeak-bench serve`: what clients of engines that serve wait for, in the vocabulary of `vllm bench serve`.
#include <iostream>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "bench/command.h"
#include "bench/report.h"
#include "bench/serve/load.h"
#include "common/base/host_port.h"
#include "common/base/status.h"

namespace droidspeak::bench {
namespace {

struct ServeOptions {
  std::vector<std::string> engines, goodput;
  ServeLoad load;
  int repeats = 5;
  bool json = false;
};

struct Engine {
  std::string name, address, model;
};

// "NAME=HOST:PORT", or "HOST:PORT".
absl::StatusOr<std::vector<Engine>> ParseEngines(const std::vector<std::string>& texts) {
  std::vector<Engine> engines;
  for (const std::string& text : texts) {
    const size_t equals = text.find('=');
    Engine engine{.name = equals == std::string::npos ? text : text.substr(0, equals),
                  .address = equals == std::string::npos ? text : text.substr(equals + 1)};
    if (const absl::Status parsed = HostPort::Parse(engine.address).status(); !parsed.ok()) {
      return absl::InvalidArgumentError(absl::StrCat("--engine ", text, ": ", parsed.message()));
    }
    ASSIGN_OR_RETURN(engine.model, ServedName(engine.address));
    engines.push_back(std::move(engine));
  }
  return engines;
}

// The most milliseconds of each that a good request may take: "ttft:500".
absl::StatusOr<std::map<std::string, double>> ParseGoodput(const std::vector<std::string>& texts) {
  std::map<std::string, double> limits;
  for (const std::string& text : texts) {
    const std::vector<std::string> parts = absl::StrSplit(text, ':');
    double limit = 0;
    if (parts.size() != 2 || (parts[0] != "ttft" && parts[0] != "tpot" && parts[0] != "e2el") ||
        !absl::SimpleAtod(parts[1], &limit)) {
      return absl::InvalidArgumentError(absl::StrCat("--goodput ", text, "; expected ttft:MS, tpot:MS or e2el:MS"));
    }
    limits[parts[0]] = limit;
  }
  return limits;
}

bool IsGood(const RequestTimes& times, const std::map<std::string, double>& limits) {
  const std::map<std::string, double> took = {
      {"ttft", times.ttft_ms}, {"tpot", times.tpot_ms}, {"e2el", times.e2el_ms}};
  for (const auto& [name, limit] : limits) {
    if (took.at(name) > limit) return false;
  }
  return true;
}

// Of one engine, over its runs.
struct Samples {
  std::vector<double> ttft, tpot, itl, e2el;                                    // of single requests
  std::vector<double> run_ttft, run_tpot;                                       // medians of a run
  std::vector<double> requests_a_second, tokens_a_second, good, cached_tokens;  // of a run
};

void Take(const ServeTimes& run, const std::map<std::string, double>& limits, Samples& samples) {
  std::vector<double> ttft, tpot;
  double tokens = 0, good = 0, cached = 0;
  for (const RequestTimes& times : run.requests) {
    ttft.push_back(times.ttft_ms);
    tpot.push_back(times.tpot_ms);
    samples.e2el.push_back(times.e2el_ms);
    samples.itl.insert(samples.itl.end(), times.itl_ms.begin(), times.itl_ms.end());
    tokens += static_cast<double>(times.tokens);
    cached += static_cast<double>(times.cached_tokens);
    good += IsGood(times, limits) ? 1 : 0;
  }
  samples.ttft.insert(samples.ttft.end(), ttft.begin(), ttft.end());
  samples.tpot.insert(samples.tpot.end(), tpot.begin(), tpot.end());
  samples.run_ttft.push_back(Median(ttft));
  samples.run_tpot.push_back(Median(tpot));
  samples.requests_a_second.push_back(static_cast<double>(run.requests.size()) / run.seconds);
  samples.tokens_a_second.push_back(tokens / run.seconds);
  samples.good.push_back(good / run.seconds);
  samples.cached_tokens.push_back(cached / static_cast<double>(run.requests.size()));
}

double MedianRatio(const std::vector<double>& of, const std::vector<double>& to) {
  std::vector<double> ratios;
  for (size_t i = 0; i < of.size(); ++i) ratios.push_back(of[i] / to[i]);
  return Median(ratios);
}

void Add(Report& report, const std::vector<Engine>& engines, const std::vector<Samples>& all, bool goodput) {
  for (size_t i = 0; i < engines.size(); ++i) {
    const std::string prefix = engines.size() == 1 ? "" : engines[i].name + ": ";
    const Samples& samples = all[i];
    report.Latency(prefix + "TTFT", "ms", samples.ttft);
    report.Latency(prefix + "TPOT", "ms", samples.tpot);
    report.Latency(prefix + "ITL", "ms", samples.itl);
    report.Latency(prefix + "E2EL", "ms", samples.e2el);
    report.Result(prefix + "requests", "/s", samples.requests_a_second);
    report.Result(prefix + "output tokens", "/s", samples.tokens_a_second);
    if (goodput) report.Result(prefix + "goodput", "/s", samples.good);
    report.Result(prefix + "cached tokens a prompt", "tokens", samples.cached_tokens);
    if (i == 0) continue;
    const std::string ratio = absl::StrCat(engines[0].name, "/", engines[i].name);
    report.Ratio(ratio + ", TTFT", MedianRatio(all[0].run_ttft, samples.run_ttft));
    report.Ratio(ratio + ", TPOT", MedianRatio(all[0].run_tpot, samples.run_tpot));
  }
}

absl::Status RunServe(const ServeOptions& options) {
  ASSIGN_OR_RETURN(const auto limits, ParseGoodput(options.goodput));
  ASSIGN_OR_RETURN(const std::vector<Engine> engines, ParseEngines(options.engines));
  std::vector<Samples> all(engines.size());
  for (int round = -1; round < options.repeats; ++round) {  // the first round warms up
    std::cerr << "serve: round " << round + 1 << " of " << options.repeats << "\n";
    ServeLoad load = options.load;
    load.seed += static_cast<uint64_t>(round + 1);  // prompts that no engine has seen
    for (size_t turn = 0; turn < engines.size(); ++turn) {
      // None always follows the same one, whose work behind the scenes it may feel.
      const size_t i = round % 2 == 0 ? turn : engines.size() - 1 - turn;
      ASSIGN_OR_RETURN(const ServeTimes run, RunServeLoad(engines[i].address, engines[i].model, load));
      if (round >= 0) Take(run, limits, all[i]);
    }
  }
  Report report("serve");
  report.Setting("prompts_a_round", options.load.prompts);
  report.Setting("prompt_tokens", options.load.prompt_tokens);
  report.Setting("answer_tokens", options.load.answer_tokens);
  report.Setting("request_rate", options.load.request_rate);
  report.Setting("burstiness", options.load.burstiness);
  report.Setting("max_concurrency", options.load.max_concurrency);
  report.Setting("seed", options.load.seed);
  report.Setting("repeats", options.repeats);
  for (const auto& [name, limit] : limits) report.Setting("goodput_" + name + "_ms", limit);
  Add(report, engines, all, !limits.empty());
  report.Baseline(all[0].run_ttft);
  report.Print(options.json);
  return absl::OkStatus();
}

}  // namespace

Command AddServeCommand(CLI::App& app) {
  CLI::App* const command = app.add_subcommand(
      "serve", "What clients of engines that serve wait for: TTFT, TPOT, ITL, E2EL. Several engines take turns");
  auto* const options = new ServeOptions;  // lives as long as the program
  ServeLoad& load = options->load;
  command->add_option("--engine", options->engines, "Engine that serves; ratios are of the first to each other")
      ->type_name("[NAME=]HOST:PORT")
      ->required()
      ->allow_extra_args(false)
      ->take_all();
  command->add_option("--num-prompts", load.prompts, "Requests a round")->check(CLI::Range(1, 1 << 20));
  command->add_option("--prompt-tokens", load.prompt_tokens, "Random ids in each")->check(CLI::Range(1, 1 << 20));
  command->add_option("--answer-tokens", load.answer_tokens, "Tokens of each answer")->check(CLI::Range(2, 1 << 20));
  command->add_option("--vocabulary", load.vocabulary, "Ids are drawn below it")->check(CLI::Range(1, 1 << 20));
  command->add_option("--request-rate", load.request_rate, "Requests a second; 0: all at once")
      ->check(CLI::Range(0.0, 1e6));
  command->add_option("--burstiness", load.burstiness, "Shape of the gamma distribution between them; 1: Poisson")
      ->check(CLI::Range(0.01, 1e3));
  command->add_option("--max-concurrency", load.max_concurrency, "Requests at a time; 0: 4,096")
      ->check(CLI::Range(0, 4096));
  command->add_option("--goodput", options->goodput, "Most milliseconds of a good request's ttft, tpot or e2el")
      ->type_name("NAME:MS");
  command->add_option("--seed", load.seed, "Of prompts and times");
  command->add_option("--repeats", options->repeats, "Rounds measured")->check(CLI::Range(1, 1000));
  command->add_flag("--json", options->json, "One JSON object");
  return {command, [options] {
            const absl::Status measured = RunServe(*options);
            if (measured.ok()) return kExitOk;
            std::cerr << "serve: " << measured.message() << "\n";
            return absl::IsInvalidArgument(measured) ? kExitUsage : kExitFailed;
          }};
}

}  // namespace droidspeak::bench
