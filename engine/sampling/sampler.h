// SPDX-License-Identifier: Apache-2.0
// Choosing the next token of one sequence from its logits.
#pragma once

#include <cstdint>
#include <unordered_map>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"

namespace droidspeak {

// As OpenAI's API has them, and vLLM's top_k. The order is: penalties, temperature, top_k, top_p, draw.
struct SamplingOptions {
  double temperature = 1.0;        // 0: the likeliest token, the first of equals
  double top_p = 1.0;              // the likeliest tokens that together have this probability
  int64_t top_k = 0;               // the likeliest so many; 0: all
  double presence_penalty = 0.0;   // taken from the logit of each token that the answer has
  double frequency_penalty = 0.0;  // taken for each time that the answer has it
  uint64_t seed = 0;
  int64_t top_logprobs = -1;  // how many of the likeliest tokens are told with each choice; -1: no log-probabilities

  // OK, or INVALID_ARGUMENT that names the field and what was expected. No more is checked afterwards.
  [[nodiscard]] absl::Status Check() const;
};

struct TokenLogprob {
  int32_t token = 0;
  float logprob = 0;  // natural, of the model's own distribution: before penalties, temperature and cuts
};

struct Choice {
  int32_t token = 0;
  float logprob = 0;                       // 0 unless asked for
  std::vector<TokenLogprob> top_logprobs;  // descending
};

// What has been drawn depends on the options, the seed and the logits so far alone, not on what else the engine
// computes meanwhile. Not thread-safe.
class Sampler {
 public:
  explicit Sampler(const SamplingOptions& options) : options_(options), state_(options.seed) {}

  // From the logits of one row, [vocabulary]. The choice counts for the penalties of the next ones.
  [[nodiscard]] Choice Choose(absl::Span<const float> logits);

 private:
  [[nodiscard]] int32_t Draw(absl::Span<const float> logits);
  [[nodiscard]] double Uniform();  // in [0, 1)
  void Penalize(absl::Span<const float> logits);

  const SamplingOptions options_;
  uint64_t state_;
  std::unordered_map<int32_t, int64_t> counts_;  // of the answer's tokens
  std::vector<float> penalized_;
  std::vector<int32_t> order_;  // candidates, likeliest first as far as is known
};

}  // namespace droidspeak
