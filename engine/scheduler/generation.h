// SPDX-License-Identifier: Apache-2.0
// An answer that somebody wants, and what they hear of it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "engine/prefill/context_source.h"
#include "engine/sampling/sampler.h"
#include "engine/scheduler/served_model.h"

namespace droidspeak {

// How a prompt was read. The answer is exactly that of this plan with this context.
struct PromptReport {
  std::string plan;            // "full" when no other model's tensors were used
  std::string sender;          // whose they were; empty with "full"
  int64_t context_tokens = 0;  // rows that were not computed through all layers
  int64_t own_tokens = 0;      // of those, the model's own
  SourceStats stats;
  std::string fallback;  // why less was reused than was there; empty when it was not
};

enum class EndReason { kStop, kLength, kCancelled, kFailed };

// Hears of one answer. Called on the scheduler's thread, which it must not hold up.
class AnswerListener {
 public:
  virtual ~AnswerListener() = default;
  // False: nobody waits for the answer any more, and it ends soon (kCancelled). Asked before each step, so called
  // often.
  [[nodiscard]] virtual bool wanted() const = 0;
  // Before the first token; once more when the engine had to read an answer's tokens again without the other model's
  // cache (`fallback` says after how many).
  virtual void OnPrompt(const PromptReport& report) = 0;
  // False: the answer is complete with this token (kStop).
  [[nodiscard]] virtual bool OnToken(const Choice& choice) = 0;
  // Once, the last call. `status` says why of kFailed.
  virtual void OnEnd(EndReason reason, const absl::Status& status) = 0;
};

struct GenerationRequest {
  const ServedModel* model = nullptr;  // who answers; outlives the scheduler
  std::vector<int32_t> prompt;         // at least one token, all below the model's vocabulary
  int64_t max_tokens = 1;              // of the answer, at least 1
  SamplingOptions sampling;            // checked
  std::shared_ptr<AnswerListener> listener;
};

}  // namespace droidspeak
