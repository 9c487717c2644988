// SPDX-License-Identifier: Apache-2.0
// The element-wise steps between a layer's matrix products, on rows in memory. They compute in fp32, round once, and
// make one pass where a chain of tensor operations would make several (a third of a layer's time in transformers on a
// CPU). Serial; callers split rows over threads. `dtype` is that of every void pointer.
#pragma once

#include <cstdint>

#include "engine/model/dtype.h"

namespace droidspeak {

// to = rotate(from): halves [a | b] become [a cos - b sin | b cos + a sin]. In place is allowed.
void RotateRow(Dtype dtype, const void* from, void* to, const float* cos, const float* sin, int64_t half);

// to = from / rms(from) * weight over `count` elements.
void NormRow(Dtype dtype, const void* from, const void* weight, void* to, int64_t count, float epsilon);

// sum = a + b, and to = norm(sum) as NormRow. `sum` may be `a`.
void AddNormRow(Dtype dtype, const void* a, const void* b, const void* weight, void* sum, void* to, int64_t count,
                float epsilon);

// to = a + b.
void AddRow(Dtype dtype, const void* a, const void* b, void* to, int64_t count);

// to = silu(gate) * up.
void SiluMulRow(Dtype dtype, const void* gate, const void* up, void* to, int64_t count);

}  // namespace droidspeak
