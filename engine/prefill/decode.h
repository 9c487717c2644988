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
#include "engine/sampling/sampler.h"

namespace droidspeak {

// The logits of the last of the rows of F32 [rows, vocab] or [vocab], which has to outlive the span.
[[nodiscard]] absl::Span<const float> LastRow(const at::Tensor& logits);

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
