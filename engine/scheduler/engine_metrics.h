// SPDX-License-Identifier: Apache-2.0
// What an engine that serves counts.
#pragma once

#include <string>

#include "absl/time/time.h"
#include "common/base/metrics.h"
#include "engine/scheduler/generation.h"

namespace droidspeak {

// Thread-safe. `metrics` outlives it.
class EngineMetrics {
 public:
  explicit EngineMetrics(Metrics& metrics);

  void Prompt(const PromptReport& report, int64_t recomputed_layers, absl::Duration ttft);
  // `tpot`: from one token of an answer to the next.
  void Token(absl::Duration tpot) { tpot_.Observe(absl::ToDoubleSeconds(tpot)); }
  void End(EndReason reason);
  void Rejected(int64_t answers) { rejected_.Increment(static_cast<double>(answers)); }
  void Preempted() { preempted_.Increment(); }
  // Now: sequences that wait, and that have slots; slots in use by these, and kept for later.
  void Load(int64_t waiting, int64_t running, int64_t slots, int64_t kept_slots);

 private:
  Metrics& metrics_;
  prometheus::Histogram& ttft_;
  prometheus::Histogram& tpot_;
  prometheus::Histogram& recomputed_layers_;
  prometheus::Counter& reused_own_;
  prometheus::Counter& reused_sender_;
  prometheus::Counter& stop_;
  prometheus::Counter& length_;
  prometheus::Counter& cancelled_;
  prometheus::Counter& failed_;
  prometheus::Counter& rejected_;
  prometheus::Counter& preempted_;
  prometheus::Gauge& waiting_;
  prometheus::Gauge& running_;
  prometheus::Gauge& slots_;
  prometheus::Gauge& kept_slots_;
};

}  // namespace droidspeak
