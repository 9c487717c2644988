// SPDX-License-Identifier: Apache-2.0
// `droidspeak-engine serve`: answers clients of the OpenAI API.
#include <iostream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/config.h"
#include "common/base/end_signals.h"
#include "common/base/log.h"
#include "common/base/status.h"
#include "engine/commands/command.h"
#include "engine/commands/options.h"
#include "engine/commands/serving.h"
#include "nlohmann/json.hpp"

namespace droidspeak {
namespace {

// What answers under way have to end once the engine is told to.
constexpr absl::Duration kGrace = absl::Seconds(25);

class Serve : public Command {
 public:
  explicit Serve(CLI::App& program);
  CLI::App* app() const override { return app_; }
  absl::Status Run() override;

 private:
  absl::Status CheckOptions();
  absl::StatusOr<std::vector<ServingAdapter>> Adapters() const;
  absl::StatusOr<std::vector<ServingSender>> Senders() const;

  CLI::App* app_;
  CLI::Option* triple_option_;
  CLI::Option* runs_option_;
  ServingOptions options_;
  PlanOptions plans_;
  std::vector<std::string> adapters_;
  std::vector<std::string> senders_;
  bool json_ = false;
};

Serve::Serve(CLI::App& program) : app_(program.add_subcommand("serve", "answer clients of the OpenAI API")) {
  options_.http = {.host = "127.0.0.1", .port = 8000};
  options_.kv_bytes = uint64_t{4} << 30;
  options_.max_running = 64;
  options_.max_waiting = 256;
  app_->add_option("--model", options_.model, "DIR[+ADAPTER_DIR] of the model")->required();
  app_->add_option("--served-model-name", options_.served_name, "its name in the API (that of its folder)");
  app_->add_option("--adapter", adapters_, "a LoRA adapter of the model, and its name in the API; any number")
      ->type_name("NAME=DIR")
      ->allow_extra_args(false)
      ->take_all();
  AddHostPortOption(*app_, "--http", options_.http, "where the API listens")->capture_default_str();
  app_->add_option("--api-key-file", options_.api_key_file, "file with the keys that clients may have, one a line")
      ->type_name("FILE");
  app_->add_option("--sender", senders_, "DIR[+ADAPTER_DIR] of a model whose cache may be used; needs --servers")
      ->allow_extra_args(false)
      ->take_all();
  plans_.AddTo(*app_, /*repeatable=*/true);
  triple_option_ = app_->get_option("--plan")->description("for the --sender before it: recompute [0,a) and [b,c)");
  runs_option_ = app_->get_option("--runs")->description("for the --sender before it: recompute these runs of layers");
  AddBytesOption(*app_, "--kv-memory", options_.kv_bytes, "memory for the KV of all answers and kept prefixes")
      ->capture_default_str();
  app_->add_option("--max-running", options_.max_running, "answers that are computed at the same time")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  app_->add_option("--max-waiting", options_.max_waiting, "answers that may wait beyond them; more get a 429")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  app_->add_option("--keep-e", options_.keep_e, "layers to store E of: all, none or 4,12")
      ->type_name("LAYERS")
      ->capture_default_str();
  options_.engine.AddTo(*app_);
  app_->add_flag("--json", json_, "print the address as one line of JSON");
}

// Each sender has one plan: the --plan or --runs that follows it.
absl::StatusOr<std::vector<ServingSender>> Serve::Senders() const {
  const size_t plans = plans_.triples.size() + plans_.runs.size();
  if (plans != senders_.size()) {
    return UsageStatus(absl::StrCat("there are ", senders_.size(), " --sender and ", plans,
                                    " --plan or --runs; expected one of these for each sender"));
  }
  std::vector<ServingSender> senders;
  const auto add = [&](bool is_runs, const std::string& plan) {
    senders.push_back({.model = senders_[senders.size()], .runs = is_runs, .plan = plan});
  };
  if (plans_.runs.empty() || plans_.triples.empty()) {
    for (const std::string& plan : plans_.triples) add(false, plan);
    for (const std::string& plan : plans_.runs) add(true, plan);
    return senders;
  }
  size_t triple = 0, runs = 0;
  for (const CLI::Option* const option : app_->parse_order()) {  // what a configuration file says has no order
    if (option == triple_option_ && triple < plans_.triples.size()) add(false, plans_.triples[triple++]);
    if (option == runs_option_ && runs < plans_.runs.size()) add(true, plans_.runs[runs++]);
  }
  if (senders.size() != senders_.size()) {
    return UsageStatus("--plan and --runs for different senders stand on the command line together");
  }
  return senders;
}

absl::StatusOr<std::vector<ServingAdapter>> Serve::Adapters() const {
  std::vector<ServingAdapter> adapters;
  for (const std::string& text : adapters_) {
    const size_t equals = text.find('=');
    if (equals == std::string::npos || equals == 0 || equals + 1 == text.size()) {
      return UsageStatus(absl::StrCat("--adapter: '", text, "'; expected NAME=DIR"));
    }
    adapters.push_back({.name = text.substr(0, equals), .dir = text.substr(equals + 1)});
  }
  return adapters;
}

absl::Status Serve::CheckOptions() {
  if (!senders_.empty() && options_.engine.servers.empty()) {
    return UsageStatus("--sender needs --servers: a sender's cache is read from there");
  }
  ASSIGN_OR_RETURN(options_.adapters, Adapters());
  ASSIGN_OR_RETURN(options_.senders, Senders());
  return absl::OkStatus();
}

absl::Status Serve::Run() {
  RETURN_IF_ERROR(CheckOptions());
  EndSignals signals;
  ASSIGN_OR_RETURN(const std::unique_ptr<Serving> serving, Serving::Start(options_));
  signals.Started();
  spdlog::info("{} serves on http://{}: up to {} tokens of prompt and answer", serving->served_name(),
               serving->address().ToString(), serving->max_tokens());
  if (json_) {
    const nlohmann::ordered_json line = {{"http", serving->address().ToString()},
                                         {"model", serving->served_name()},
                                         {"max_tokens", serving->max_tokens()}};
    std::cout << line.dump() << std::endl;
  }
  spdlog::info("{}: ending; answers under way have {}", signals.Wait(), absl::FormatDuration(kGrace));
  if (!serving->Stop(kGrace)) return absl::DeadlineExceededError("answers under way were cut off");
  return absl::OkStatus();
}

}  // namespace

std::unique_ptr<Command> MakeServe(CLI::App& program) {
  return std::make_unique<Serve>(program);
}

}  // namespace droidspeak
