// SPDX-License-Identifier: Apache-2.0
// The matrix products of a forward.
#pragma once

#include <cstdint>

#include "ATen/core/Tensor.h"
#include "engine/model/weight.h"

namespace droidspeak {

// x weight^T + bias: x [rows, in], last dimension contiguous; bias [out] or undefined; all of the weight's dtype, as
// the result [rows, out]. Sums are fp32 and rounded once. On libtorch's threads.
[[nodiscard]] at::Tensor Linear(const at::Tensor& x, const Weight& weight, const at::Tensor& bias);

// The same of outputs [first, first + count) of a weight that several projections share.
[[nodiscard]] at::Tensor Linear(const at::Tensor& x, const Weight& weight, const at::Tensor& bias, int64_t first,
                                int64_t count);

}  // namespace droidspeak
