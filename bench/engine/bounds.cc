// SPDX-License-Identifier: Apache-2.0
#include "bench/engine/bounds.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/randn.h>

#include <algorithm>
#include <atomic>
#include <limits>

#include "absl/time/clock.h"
#include "common/base/status.h"
#include "engine/model/attention.h"
#include "engine/model/linear.h"
#include "engine/model/torch_types.h"
#include "engine/prefill/partial_prefill.h"

namespace droidspeak::bench {
namespace {

// Reads the tensor's memory on all threads.
uint64_t ReadAll(const at::Tensor& tensor) {
  const auto* const words = static_cast<const uint64_t*>(tensor.const_data_ptr());
  std::atomic<uint64_t> total = 0;
  constexpr int64_t kGrainWords = 1 << 14;
  at::parallel_for(0, static_cast<int64_t>(tensor.nbytes() / sizeof(uint64_t)), kGrainWords,
                   [&](int64_t first, int64_t end) {
                     uint64_t sum = 0;
                     for (int64_t i = first; i < end; ++i) sum += words[i];
                     total += sum;
                   });
  return total;
}

}  // namespace

absl::StatusOr<EngineBounds> EngineBounds::Create(const Model& model, int64_t tokens) {
  ASSIGN_OR_RETURN(std::unique_ptr<KvSlab> slab,
                   KvSlab::Create(model.config(), model.dtype(), tokens, std::numeric_limits<int64_t>::max()));
  for (int64_t layer = 0; layer < slab->layers(); ++layer) {
    for (at::Tensor half : {slab->K(layer), slab->V(layer)}) half.copy_(at::randn(half.sizes()));
  }
  return EngineBounds(model, tokens, std::move(slab));
}

double EngineBounds::Products() const {
  const ModelConfig& config = model_->config();
  const at::ScalarType type = ScalarType(model_->dtype());
  const int64_t step = std::min(tokens_, kPrefillStepTokens);
  const at::Tensor hidden = at::randn({step, config.hidden_size}).to(type);
  const at::Tensor wide = at::randn({step, config.intermediate_size}).to(type);
  const at::Tensor q = at::randn({step, config.heads, config.head_dim}).to(type);
  at::Tensor attended = at::empty({step, config.heads * config.head_dim}, type);
  const absl::Time start = absl::Now();
  for (int64_t row = 0; row < tokens_; row += step) {
    const int64_t rows = std::min(step, tokens_ - row);
    const at::Tensor x = hidden.narrow(0, 0, rows), up = wide.narrow(0, 0, rows);
    for (int64_t layer = 0; layer < config.layers; ++layer) {
      const LayerWeights& weights = model_->layer(layer);
      (void)Linear(x, weights.qkv, {});
      if (layer + 1 == config.layers) break;  // the last layer leaves K and V, but for the last row
      at::Tensor out = attended.narrow(0, 0, rows);
      Attend(q, *slab_, layer, config.windows[layer],
             {.first_row = 0, .count = rows, .first_position = row, .base_slot = 0}, out);
      (void)Linear(out, weights.o, {});
      (void)Linear(x, weights.gate_up, {});
      (void)Linear(up, weights.down, {});
    }
  }
  return absl::ToDoubleSeconds(absl::Now() - start);
}

double EngineBounds::Stream() const {
  const absl::Time start = absl::Now();
  uint64_t sum = ReadAll(model_->lm_head().memory());
  for (int64_t layer = 0; layer < model_->config().layers; ++layer) {
    const LayerWeights& weights = model_->layer(layer);
    for (const Weight* weight : {&weights.qkv, &weights.o, &weights.gate_up, &weights.down})
      sum += ReadAll(weight->memory());
  }
  asm volatile("" : : "r"(sum));  // it counts as used
  return absl::ToDoubleSeconds(absl::Now() - start);
}

}  // namespace droidspeak::bench
