// SPDX-License-Identifier: Apache-2.0
// The matrix products of a forward.
#pragma once

#include "ATen/core/Tensor.h"

namespace droidspeak {

// x weight^T + bias: x [rows, in], last dimension contiguous; weight [out, in], contiguous; bias [out] or undefined;
// all of one dtype, as the result [rows, out]. On libtorch's threads.
[[nodiscard]] at::Tensor Linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias);

// The same of rows [first, first + count) of a weight that several projections share.
[[nodiscard]] at::Tensor Linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, int64_t first,
                                int64_t count);

}  // namespace droidspeak
