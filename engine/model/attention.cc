// SPDX-License-Identifier: Apache-2.0
#include "engine/model/attention.h"

#include <ATen/ops/_scaled_dot_product_flash_attention_for_cpu.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <limits>
#include <optional>

namespace droidspeak {
namespace {

// Query rows handled at once: large enough for libtorch's kernel to be busy, small enough that the keys above the
// diagonal which a block computes in vain stay few.
constexpr int64_t kBlockRows = 256;

// [rows, keys]: 0 where the row at `first_position` + i sees the key at `first_key` + j, minus infinity elsewhere.
at::Tensor Mask(int64_t rows, int64_t keys, int64_t first_position, int64_t first_key, int64_t window) {
  at::Tensor mask = at::zeros({rows, keys}, at::kFloat);
  float* values = mask.data_ptr<float>();
  constexpr float kHidden = -std::numeric_limits<float>::infinity();
  for (int64_t i = 0; i < rows; ++i) {
    const int64_t own = first_position + i - first_key;  // index of the row's own key
    float* row = values + i * keys;
    if (window > 0) std::fill(row, row + std::clamp<int64_t>(own - window + 1, 0, keys), kHidden);
    std::fill(row + std::min(own + 1, keys), row + keys, kHidden);
  }
  return mask;
}

// q [1, heads, n, d], k and v [1, kv_heads, m, d]; returns [n, heads * d]. The kernel takes grouped heads as they are.
at::Tensor Flash(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, bool causal,
                 const std::optional<at::Tensor>& mask) {
  const auto [output, unused] = at::_scaled_dot_product_flash_attention_for_cpu(q, k, v, 0.0, causal, mask);
  return output.transpose(1, 2).reshape({q.size(2), -1});
}

}  // namespace

void Attend(const at::Tensor& q, const KvSlab& slab, int64_t layer, int64_t window, const AttentionRun& run,
            at::Tensor& out) {
  const at::Tensor keys = slab.K(layer).unsqueeze(0), values = slab.V(layer).unsqueeze(0);
  const auto queries = [&](int64_t first, int64_t count) {
    return q.narrow(0, run.first_row + first, count).unsqueeze(0).transpose(1, 2);
  };
  const auto attend = [&](int64_t first, int64_t count) {
    const int64_t position = run.first_position + first, end = position + count;
    const int64_t first_key = window > 0 ? std::max<int64_t>(0, position - window + 1) : 0;
    const at::Tensor k = keys.narrow(2, run.base_slot + first_key, end - first_key);
    const at::Tensor v = values.narrow(2, run.base_slot + first_key, end - first_key);
    at::Tensor to = out.narrow(0, run.first_row + first, count);
    if (position == 0 && (window == 0 || end <= window)) {
      to.copy_(Flash(queries(first, count), k, v, /*causal=*/true, std::nullopt));
    } else {
      to.copy_(Flash(queries(first, count), k, v, /*causal=*/false,
                     Mask(count, end - first_key, position, first_key, window)));
    }
  };
  // From position 0 the kernel's own causal mask (top left) is the right one, and it skips what lies above the
  // diagonal.
  if (run.first_position == 0 && (window == 0 || run.count <= window)) return attend(0, run.count);
  for (int64_t first = 0; first < run.count; first += kBlockRows)
    attend(first, std::min(kBlockRows, run.count - first));
}

}  // namespace droidspeak
