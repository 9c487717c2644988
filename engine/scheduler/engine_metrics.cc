// SPDX-License-Identifier: Apache-2.0
#include "engine/scheduler/engine_metrics.h"

#include "absl/strings/match.h"

namespace droidspeak {
namespace {

prometheus::Counter& Requests(Metrics& metrics, const char* outcome) {
  return metrics.Counter("engine_requests_total", "Answers that ended, by how", {{"outcome", outcome}});
}

prometheus::Counter& Reused(Metrics& metrics, const char* whose) {
  return metrics.Counter("engine_reused_tokens_total", "Tokens of prompts not computed through all layers",
                         {{"cache", whose}});
}

// A few values, whatever the message says.
const char* FallbackReason(const std::string& message) {
  for (const char* reason : {"lost", "missing", "no staging memory"}) {
    if (absl::StartsWith(message, reason)) return reason;
  }
  return "other";
}

}  // namespace

EngineMetrics::EngineMetrics(Metrics& metrics)
    : metrics_(metrics),
      ttft_(metrics.Histogram("engine_ttft_seconds", "From a request's arrival to its answer's first token",
                              Metrics::DurationBuckets())),
      tpot_(metrics.Histogram("engine_tpot_seconds", "From one token of an answer to the next",
                              Metrics::DurationBuckets())),
      recomputed_layers_(metrics.Histogram("engine_recomputed_layers", "Layers that a prompt's context was computed in",
                                           {0, 1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 256})),
      reused_own_(Reused(metrics, "own")),
      reused_sender_(Reused(metrics, "sender")),
      stop_(Requests(metrics, "stop")),
      length_(Requests(metrics, "length")),
      cancelled_(Requests(metrics, "cancelled")),
      failed_(Requests(metrics, "failed")),
      rejected_(Requests(metrics, "rejected")),
      preempted_(metrics.Counter("engine_preempted_total", "Answers put back into the queue for want of slots")),
      waiting_(metrics.Gauge("engine_queue_length", "Answers that wait for slots")),
      running_(metrics.Gauge("engine_running", "Answers that have slots")),
      slots_(metrics.Gauge("engine_kv_slots", "Tokens whose KV the slab holds", {{"state", "running"}})),
      kept_slots_(metrics.Gauge("engine_kv_slots", "Tokens whose KV the slab holds", {{"state", "kept"}})) {}

void EngineMetrics::Prompt(const PromptReport& report, int64_t recomputed_layers, absl::Duration ttft) {
  ttft_.Observe(absl::ToDoubleSeconds(ttft));
  recomputed_layers_.Observe(static_cast<double>(recomputed_layers));
  reused_own_.Increment(static_cast<double>(report.own_tokens));
  reused_sender_.Increment(static_cast<double>(report.context_tokens - report.own_tokens));
  if (!report.fallback.empty()) {
    metrics_
        .Counter("engine_fallbacks_total", "Prompts of which less was reused than asked for",
                 {{"reason", FallbackReason(report.fallback)}})
        .Increment();
  }
}

void EngineMetrics::End(EndReason reason) {
  switch (reason) {
    case EndReason::kStop:
      return stop_.Increment();
    case EndReason::kLength:
      return length_.Increment();
    case EndReason::kCancelled:
      return cancelled_.Increment();
    case EndReason::kFailed:
      return failed_.Increment();
  }
}

void EngineMetrics::Load(int64_t waiting, int64_t running, int64_t slots, int64_t kept_slots) {
  waiting_.Set(static_cast<double>(waiting));
  running_.Set(static_cast<double>(running));
  slots_.Set(static_cast<double>(slots));
  kept_slots_.Set(static_cast<double>(kept_slots));
}

}  // namespace droidspeak
