// SPDX-License-Identifier: Apache-2.0
// Partial prefill, the heart of DroidSpeak (paper, section 4.2; docs/partial-prefill.md): two phases that by causality
// equal running the whole prompt at once. Repair recomputes the plan's layers for the context; the suffix then runs
// through all layers and waits for each reused layer's KV only when it gets there.
#pragma once

#include <cstdint>
#include <string>

#include "ATen/core/Tensor.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "engine/model/forward.h"
#include "engine/prefill/capture.h"
#include "engine/prefill/context_source.h"
#include "engine/prefill/plan.h"

namespace droidspeak {

struct PrefillRequest {
  absl::Span<const int32_t> tokens;         // the whole prompt
  const RuntimeAdapter* adapter = nullptr;  // applied beside the model; null: none
  SlotRun run;                              // slots of the sequence, at least as many as tokens
  int64_t reach = 0;  // of the sequence (rope_config.h); less than the tokens: that of the prompt alone
  Plan plan;
  // Not owned; null when there is nothing to reuse. Its tokens() must leave at least one token to the suffix. With the
  // full plan only its own rows count.
  ContextSource* source = nullptr;
  // Not owned; gets the tensors that are exact: layers [0, a) of repaired rows, and the suffix when no other model's
  // rows precede it. Rows may come twice, when a loss made the suffix start earlier.
  CaptureSink* capture = nullptr;
  // Logits are wanted from this row on; -1 = of the last row only.
  int64_t first_wanted = -1;
};

struct PrefillResult {
  at::Tensor logits;            // F32 [wanted rows, vocab]
  int64_t context_tokens = 0;   // rows that were not computed through all layers
  int64_t own_tokens = 0;       // of those, the receiver's own
  absl::Duration context_time;  // repair, waiting for E included
  absl::Duration total_time;
  SourceStats stats;
  std::string fallback;  // why fewer context tokens were used than asked for; empty when not
};

// The answer is exactly that of the plan with the context_tokens the result reports: a loss moves rows from the context
// to the suffix and changes nothing else. INVALID_ARGUMENT: tokens, run or plan don't fit the model or the source. No
// exception leaves.
[[nodiscard]] absl::StatusOr<PrefillResult> PartialPrefill(const Model& model, KvSlab& slab,
                                                           const PrefillRequest& request);

// Rows a step of a prefill takes: enough to keep the GEMMs busy on a CPU, few enough to bound activations. Repair takes
// smaller ones, to begin as soon as a part of E has arrived.
inline constexpr int64_t kPrefillStepTokens = 2048;
inline constexpr int64_t kRepairStepTokens = 512;

}  // namespace droidspeak
