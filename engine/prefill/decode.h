// SPDX-License-Identifier: Apache-2.0
// One sequence's answer, token by token, after its prefill.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/model/forward.h"
#include "engine/prefill/capture.h"

namespace droidspeak {

// Chooses tokens from logits. Not thread-safe.
class Sampler {
 public:
  // `temperature` 0 takes the likeliest token, the first of equals.
  Sampler(double temperature, uint64_t seed) : temperature_(temperature), state_(seed) {}

  // From the last row of F32 [rows, vocab] or [vocab].
  [[nodiscard]] int32_t Choose(const at::Tensor& logits);

 private:
  double Uniform();  // in [0, 1)

  const double temperature_;
  uint64_t state_;
};

struct DecodeRequest {
  SlotRun run;           // of the sequence
  int64_t reach = 0;     // of the sequence, as its prefill had it
  int64_t position = 0;  // tokens that stand in the slab
  int32_t first = 0;     // the token chosen after them
  int64_t max_tokens = 0;
  // Told of each token as it is chosen, the first included; false ends the answer after it.
  std::function<bool(int32_t)> on_token;
  CaptureSink* capture = nullptr;  // of the answer's rows; not owned
};

// The answer: at most max_tokens, and no more than the sequence's slots or the model's positions hold.
[[nodiscard]] absl::StatusOr<std::vector<int32_t>> Decode(const Model& model, KvSlab& slab, Sampler& sampler,
                                                          const DecodeRequest& request);

}  // namespace droidspeak
