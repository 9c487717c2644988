// SPDX-License-Identifier: Apache-2.0
// Whole-prompt runs of one model in a slab of their own: what the command `score` and the tests need.
#pragma once

#include <cstdint>

#include "ATen/core/Tensor.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/model/model.h"

namespace droidspeak {

// F32 logits of a full prefill: [vocab] of the last position, or [tokens, vocab] with `all_positions`.
// `tokens`: at least one, at most the model's max_positions, each below its vocab_size.
[[nodiscard]] absl::StatusOr<at::Tensor> ScoreTokens(const Model& model, absl::Span<const int32_t> tokens,
                                                     bool all_positions);

// A full prefill's cache, all F32.
struct CacheDump {
  at::Tensor e;  // [layers, tokens, hidden]
  at::Tensor k;  // [layers, kv_heads, tokens, head_dim], pre-RoPE
  at::Tensor v;  // [layers, kv_heads, tokens, head_dim]
};
[[nodiscard]] absl::StatusOr<CacheDump> DumpCache(const Model& model, absl::Span<const int32_t> tokens);

}  // namespace droidspeak
