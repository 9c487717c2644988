// SPDX-License-Identifier: Apache-2.0
// One answer on its way through the scheduler.
#pragma once

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "engine/model/kv_slab.h"
#include "engine/model/rope.h"
#include "engine/prefill/prefill_steps.h"
#include "engine/prefill/store_queue.h"
#include "engine/sampling/sampler.h"
#include "engine/scheduler/context_opener.h"
#include "engine/scheduler/generation.h"

namespace droidspeak {

// Plain data of the scheduler's thread.
struct ServedSequence {
  enum class State {
    kWaiting,     // for slots
    kOpening,     // its context is being looked up
    kPrefilling,  // or about to
    kDecoding,
  };

  explicit ServedSequence(GenerationRequest asked)
      : request(std::move(asked)), tokens(request.prompt), sampler(request.sampling) {}

  GenerationRequest request;
  State state = State::kWaiting;
  bool ended = false;           // the listener has heard of it, and nothing is left but to forget it
  std::vector<int32_t> tokens;  // the prompt, and the answer so far
  int64_t reach = 0;            // of the sequence (rope_config.h)
  Sampler sampler;
  absl::Time arrived, last_token;
  bool reported = false;  // the listener has heard of the prompt
  PromptReport report;    // what it has heard
  // Of answers to one prompt asked for together, the first: the others wait until its prompt is read.
  std::shared_ptr<bool> prompt_read;
  bool is_first = true;

  SlotRun run;             // of the slab; none while waiting
  int64_t rows = 0;        // leading rows that are in their slots
  int64_t exact_rows = 0;  // of those, the model's own
  bool repairs = false;    // the servers lack rows that the slab has: they are computed again, and so stored
  std::shared_ptr<const Rope> rope;

  const ContextSender* sender = nullptr;  // whose cache is used; null: none, and the plan is full
  // In this order: what is declared later uses what stands before.
  std::unique_ptr<ContextSource> source;
  std::unique_ptr<QueuedStore> store;  // null: nothing to store
  std::unique_ptr<PrefillSteps> prefill;

  [[nodiscard]] int64_t prompt_tokens() const { return static_cast<int64_t>(request.prompt.size()); }
  [[nodiscard]] int64_t answer_tokens() const { return static_cast<int64_t>(tokens.size()) - prompt_tokens(); }
  [[nodiscard]] const RuntimeAdapter* adapter() const { return request.model->adapter.get(); }
  [[nodiscard]] bool is_exact() const { return exact_rows == rows; }
};

}  // namespace droidspeak
