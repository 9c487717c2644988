// SPDX-License-Identifier: Apache-2.0
#include "engine/model/linear.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/linear.h>

#include <algorithm>
#include <optional>

#include "engine/model/kernels.h"

namespace droidspeak {
namespace {

// So many bytes of weights one thread should at least read: less is not worth waking it.
constexpr int64_t kGrainBytes = 128 << 10;

// With this many rows a product is about reading its weights, which a library that first packs them into blocks
// (oneDNN) does slower than memory allows.
bool IsFew(const at::Tensor& x) {
  return x.scalar_type() == at::kBFloat16 && x.size(0) <= kMostDotRows;
}

at::Tensor LinearOfFewRows(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  const int64_t rows = x.size(0), in = x.size(1), out = weight.size(0);
  const at::Tensor wide = x.to(at::kFloat).contiguous();
  at::Tensor result = at::empty({rows, out}, x.options());
  const auto* const weights = static_cast<const std::byte*>(weight.const_data_ptr());
  const auto* const added = bias.defined() ? static_cast<const std::byte*>(bias.const_data_ptr()) : nullptr;
  auto* const to = static_cast<std::byte*>(result.data_ptr());
  constexpr int64_t kBytes = 2;
  at::parallel_for(0, out, std::max<int64_t>(1, kGrainBytes / (in * kBytes)), [&](int64_t first, int64_t end) {
    DotRowsBf16({.weight = weights + first * in * kBytes,
                 .bias = added == nullptr ? nullptr : added + first * kBytes,
                 .x = wide.const_data_ptr<float>(),
                 .to = to + first * kBytes,
                 .in = in,
                 .out = end - first,
                 .rows = rows,
                 .to_stride = out});
  });
  return result;
}

}  // namespace

at::Tensor Linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  if (IsFew(x)) return LinearOfFewRows(x, weight, bias);
  return at::linear(x, weight, bias.defined() ? std::optional(bias) : std::nullopt);
}

at::Tensor Linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, int64_t first, int64_t count) {
  // Rows of a weight are contiguous: nothing is copied.
  return Linear(x, weight.narrow(0, first, count), bias.defined() ? bias.narrow(0, first, count) : bias);
}

}  // namespace droidspeak
