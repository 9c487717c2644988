// SPDX-License-Identifier: Apache-2.0
#include "tests/engine/scheduler/scheduler_harness.h"

#include <cstdlib>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "engine/prefill/decode.h"
#include "gtest/gtest.h"

namespace droidspeak {
namespace {

constexpr absl::Duration kPatience = absl::Seconds(30);

}  // namespace

void Heard::OnPrompt(const PromptReport& report) {
  absl::MutexLock lock(&mutex_);
  report_ = report;
}

bool Heard::OnToken(const Choice& choice) {
  absl::MutexLock lock(&mutex_);
  EXPECT_FALSE(reason_.has_value());
  tokens_.push_back(choice.token);
  return static_cast<int64_t>(tokens_.size()) != stop_after_;
}

void Heard::OnEnd(EndReason reason, const absl::Status& status) {
  absl::MutexLock lock(&mutex_);
  EXPECT_FALSE(reason_.has_value());
  EXPECT_EQ(status.ok(), reason != EndReason::kFailed) << status;
  reason_ = reason;
}

bool Heard::WaitForTokens(int64_t count) {
  absl::MutexLock lock(&mutex_);
  const auto there = [this, count]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return static_cast<int64_t>(tokens_.size()) >= count;
  };
  return mutex_.AwaitWithTimeout(absl::Condition(&there), kPatience);
}

bool Heard::WaitForEnd() {
  absl::MutexLock lock(&mutex_);
  const auto ended = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return reason_.has_value(); };
  return mutex_.AwaitWithTimeout(absl::Condition(&ended), kPatience);
}

std::vector<int32_t> Heard::tokens() {
  absl::MutexLock lock(&mutex_);
  return tokens_;
}

PromptReport Heard::report() {
  absl::MutexLock lock(&mutex_);
  return report_;
}

std::optional<EndReason> Heard::reason() {
  absl::MutexLock lock(&mutex_);
  return reason_;
}

std::vector<int32_t> Alone(const Model& model, const std::vector<int32_t>& prompt, int64_t max_tokens,
                           const SamplingOptions& sampling) {
  const int64_t length = static_cast<int64_t>(prompt.size()), reach = length + max_tokens - 1;
  TestSequence sequence(model, length + max_tokens);
  const PrefillResult prefill =
      MustPrefill(model, sequence,
                  {.tokens = prompt, .run = sequence.run, .reach = reach, .plan = Plan::Full(model.config().layers)});
  Sampler sampler(sampling);
  const auto answer = Decode(model, *sequence.slab, sampler,
                             {.run = sequence.run,
                              .reach = reach,
                              .position = length,
                              .first = sampler.Choose(LastRow(prefill.logits)).token,
                              .max_tokens = max_tokens});
  EXPECT_TRUE(answer.ok()) << answer.status();
  return answer.value_or(std::vector<int32_t>());
}

TestScheduler::TestScheduler(std::shared_ptr<const Model> model, SchedulerOptions options, ContextOpener* contexts,
                             StoreQueue* stores, ModelNamespaces own)
    : served({.name = "model", .own = std::move(own)}) {
  scheduler = Scheduler::Start(std::move(model), contexts, stores, engine_metrics, std::move(options)).value();
  metrics.BeforeScrape([this] { scheduler->UpdateLoad(); });
}

std::shared_ptr<Heard> TestScheduler::Ask(const std::vector<int32_t>& prompt, int64_t max_tokens,
                                          const SamplingOptions& sampling, const ServedModel* model) {
  auto heard = std::make_shared<Heard>();
  const absl::Status queued = scheduler->Submit({{.model = model == nullptr ? &served : model,
                                                  .prompt = prompt,
                                                  .max_tokens = max_tokens,
                                                  .sampling = sampling,
                                                  .listener = heard}});
  EXPECT_TRUE(queued.ok()) << queued;
  return heard;
}

double TestScheduler::Metric(const std::string& name) {
  const std::string text = metrics.Text(), wanted = absl::StrCat("\ndroidspeak_", name, " ");
  const size_t at = text.find(wanted);
  return at == std::string::npos ? 0 : std::strtod(text.c_str() + at + wanted.size(), nullptr);
}

}  // namespace droidspeak
