// SPDX-License-Identifier: Apache-2.0
// One timed answer of the receiver.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/dataset/prompt.h"
#include "engine/model/model.h"
#include "engine/prefill/context_source.h"
#include "engine/prefill/partial_prefill.h"
#include "engine/prefill/sequence.h"
#include "engine/tokenizer/tokenizer.h"

namespace droidspeak {

// What is measured of one prefill. Times are in milliseconds.
struct FirstToken {
  int32_t token = 0;
  // The context phase; of a full prefill, which has no such phase, all of it.
  double prefill_ms = 0;
  double ttft_ms = 0;  // from the ids at hand to the first token chosen
  int64_t context_tokens = 0;
  SourceStats stats;
};

// A question to be answered in `sequence`.
struct AskRequest {
  absl::Span<const int32_t> tokens;
  int64_t reach = 0;  // of the question with its answer (rope_config.h)
  Sequence* sequence = nullptr;
  const Plan* plan = nullptr;
  // Makes the context's source, within the time that is measured: looking a context up is a part of reusing it. Not
  // called for a full plan.
  std::function<std::unique_ptr<ContextSource>()> source;
};

// Greedy answers as a prompt template wants them. Borrows its arguments; used by one thread.
class Answerer {
 public:
  // Reads which tokens end the model's answers.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<Answerer>> Create(const Model& model, const Tokenizer& tokenizer,
                                                                        const PromptTemplate& prompt);

  [[nodiscard]] absl::StatusOr<FirstToken> Prefill(const AskRequest& request) const;
  // The text that follows the prefill of `request`, whose rows still stand in its sequence.
  [[nodiscard]] absl::StatusOr<std::string> Decode(const AskRequest& request, int32_t first) const;

 private:
  Answerer(const Model& model, const Tokenizer& tokenizer, const PromptTemplate& prompt, std::vector<int32_t> eos)
      : model_(model), tokenizer_(tokenizer), prompt_(prompt), eos_(std::move(eos)) {}

  const Model& model_;
  const Tokenizer& tokenizer_;
  const PromptTemplate& prompt_;
  const std::vector<int32_t> eos_;
};

}  // namespace droidspeak
