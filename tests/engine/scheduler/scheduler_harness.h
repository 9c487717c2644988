// SPDX-License-Identifier: Apache-2.0
// Listeners that remember, and what a model answers on its own.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "common/base/metrics.h"
#include "engine/scheduler/scheduler.h"
#include "tests/engine/prefill/prefill_harness.h"

namespace droidspeak {

// Remembers one answer. Thread-safe.
class Heard : public AnswerListener {
 public:
  // Ends the answer itself (kStop) with token `stop_after`, counted from 1.
  explicit Heard(int64_t stop_after = -1) : stop_after_(stop_after) {}

  bool wanted() const override { return wanted_; }
  void OnPrompt(const PromptReport& report) override;
  bool OnToken(const Choice& choice) override;
  void OnEnd(EndReason reason, const absl::Status& status) override;

  void HangUp() { wanted_ = false; }
  // Waits, for half a minute at most.
  bool WaitForTokens(int64_t count);
  bool WaitForEnd();

  std::vector<int32_t> tokens();
  PromptReport report();
  std::optional<EndReason> reason();

 private:
  const int64_t stop_after_;
  std::atomic<bool> wanted_{true};
  absl::Mutex mutex_;
  std::vector<int32_t> tokens_ ABSL_GUARDED_BY(mutex_);
  PromptReport report_ ABSL_GUARDED_BY(mutex_);
  std::optional<EndReason> reason_ ABSL_GUARDED_BY(mutex_);
};

// What prefill and decoding give to one prompt alone, computed in a slab of its own.
std::vector<int32_t> Alone(const Model& model, const std::vector<int32_t>& prompt, int64_t max_tokens,
                           const SamplingOptions& sampling = {.temperature = 0});

// A scheduler that serves a model, `own` its cache on the servers, and adapters of it.
struct TestScheduler {
  TestScheduler(std::shared_ptr<const Model> model, SchedulerOptions options, ContextOpener* contexts = nullptr,
                StoreQueue* stores = nullptr, ModelNamespaces own = {});

  // The listener of a request that has been queued, to the model itself unless another is named.
  std::shared_ptr<Heard> Ask(const std::vector<int32_t>& prompt, int64_t max_tokens,
                             const SamplingOptions& sampling = {.temperature = 0}, const ServedModel* model = nullptr);
  // The value of a metric of the text format, "name{labels}" without the prefix; 0 when it is not there.
  double Metric(const std::string& name);

  ServedModel served;
  Metrics metrics;
  EngineMetrics engine_metrics{metrics};
  std::unique_ptr<Scheduler> scheduler;
};

}  // namespace droidspeak
