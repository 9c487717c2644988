// SPDX-License-Identifier: Apache-2.0
// Causal attention of a run of consecutive rows over the keys that its sequence keeps in the slab.
#pragma once

#include <cstdint>

#include "ATen/core/Tensor.h"
#include "engine/model/kv_slab.h"

namespace droidspeak {

// Rows of one sequence at consecutive positions; position p's key stands in slot base_slot + p.
struct AttentionRun {
  int64_t first_row = 0;  // in q and out
  int64_t count = 0;
  int64_t first_position = 0;
  int64_t base_slot = 0;
};

// q: [rows, heads, head_dim] after rotary, any row stride; out: [rows, heads * head_dim], contiguous. A row sees the
// keys of its own position and before, the last `window` of them unless 0. Rows of one call may differ in sequence
// between calls only: one run a call.
void Attend(const at::Tensor& q, const KvSlab& slab, int64_t layer, int64_t window, const AttentionRun& run,
            at::Tensor& out);

}  // namespace droidspeak
