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
#include "engine/model/vectors.h"
#include "engine/prefill/partial_prefill.h"

namespace droidspeak::bench {
namespace {

// In the widest loads that the processor has.
DROIDSPEAK_VECTOR_CLONES uint32_t ReadVectors(const Words* vectors, int64_t count) {
  Words sums[4] = {};
  int64_t i = 0;
  for (; i + 4 <= count; i += 4) {
    for (int j = 0; j < 4; ++j) sums[j] += vectors[i + j];
  }
  for (; i < count; ++i) sums[0] += vectors[i];
  const Words sum = (sums[0] + sums[1]) + (sums[2] + sums[3]);
  return sum[0];
}

// Reads the tensor's memory on all threads.
uint64_t ReadAll(const at::Tensor& tensor) {
  const auto* const vectors = static_cast<const Words*>(tensor.const_data_ptr());
  std::atomic<uint64_t> total = 0;
  constexpr int64_t kGrainVectors = 1 << 11;
  at::parallel_for(0, static_cast<int64_t>(tensor.nbytes() / sizeof(Words)), kGrainVectors,
                   [&](int64_t first, int64_t end) { total += ReadVectors(vectors + first, end - first); });
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
