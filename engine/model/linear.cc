// SPDX-License-Identifier: Apache-2.0
#include "engine/model/linear.h"

#include <ATen/ops/linear.h>

#include <optional>

#include "engine/model/packed_product.h"

namespace droidspeak {

at::Tensor Linear(const at::Tensor& x, const Weight& weight, const at::Tensor& bias) {
  return Linear(x, weight, bias, 0, weight.out());
}

at::Tensor Linear(const at::Tensor& x, const Weight& weight, const at::Tensor& bias, int64_t first, int64_t count) {
  if (weight.is_packed()) return PackedProduct(x, weight, bias, first, count).Run();
  // Rows of a weight are contiguous: nothing is copied.
  return at::linear(x, weight.memory().narrow(0, first, count),
                    bias.defined() ? std::optional(bias.narrow(0, first, count)) : std::nullopt);
}

}  // namespace droidspeak
