// SPDX-License-Identifier: Apache-2.0
// Attention of a few queries over keys in memory, each key and value read once.
#pragma once

#include <cstdint>

#include "engine/model/dtype.h"

namespace droidspeak {

// Queries and results stand in an order of the kernel's own within a head, which spares it to rearrange each key and
// value: see OrderQuery and LeaveHead.
struct AttendKeys {
  const void* k;  // [keys, head_dim]
  const void* v;  // [keys, head_dim]
  int64_t keys;   // at least one
  int64_t head_dim;
  const float* q;   // [queries, head_dim]
  int64_t queries;  // of one position: each sees all the keys
  // What came of it, to be joined with other keys': sums of e^(score - most) and of that times the value.
  float* most;      // [queries], the highest score
  float* total;     // [queries]
  float* weighted;  // [queries, head_dim]
};

// Serial, as the others. `dtype` is that of k and v; sums are fp32.
void AttendToKeys(Dtype dtype, const AttendKeys& task);

// to (the kernel's order) = head [head_dim] * scale.
void OrderQuery(Dtype dtype, const void* head, float scale, int64_t head_dim, float* to);

// to [head_dim] = weighted (the kernel's order) * scale.
void LeaveHead(Dtype dtype, const float* weighted, float scale, int64_t head_dim, void* to);

}  // namespace droidspeak
