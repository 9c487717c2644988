// SPDX-License-Identifier: Apache-2.0
#include "engine/model/rope.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/pow.h>
#include <ATen/ops/where.h>

#include <cmath>
#include <cstring>

#include "engine/model/kernels.h"

namespace droidspeak {
namespace {

// The steps of transformers' modeling_rope_utils, with its operations in its order: the same fp32 roundings.
at::Tensor InverseFrequencies(const RopeConfig& config, int64_t head_dim) {
  const at::Tensor exponents = at::arange(0, head_dim, 2, at::kLong).to(at::kFloat) / head_dim;
  const at::Tensor plain = 1.0 / at::pow(at::Scalar(config.theta), exponents);
  switch (config.kind) {
    case RopeKind::kDefault:
      return plain;
    case RopeKind::kLinear:
      return plain / config.factor;
    case RopeKind::kLlama3:
      break;
  }
  const double original = static_cast<double>(config.original_max_positions);
  const double low_wavelength = original / config.low_freq_factor, high_wavelength = original / config.high_freq_factor;
  const at::Tensor wavelength = 2 * M_PI / plain;
  const at::Tensor scaled = at::where(wavelength > low_wavelength, plain / config.factor, plain);
  const at::Tensor smooth =
      (original / wavelength - config.low_freq_factor) / (config.high_freq_factor - config.low_freq_factor);
  const at::Tensor smoothed = (1 - smooth) * scaled / config.factor + smooth * scaled;
  const at::Tensor medium = (wavelength >= high_wavelength).logical_and(wavelength <= low_wavelength);
  return at::where(medium, smoothed, scaled);
}

std::vector<float> ToVector(const at::Tensor& tensor) {
  const at::Tensor flat = tensor.contiguous();
  return {flat.data_ptr<float>(), flat.data_ptr<float>() + flat.numel()};
}

}  // namespace

Rope::Rope(const RopeConfig& config, int64_t head_dim, int64_t max_positions)
    : half_(head_dim / 2), max_positions_(max_positions) {
  const at::Tensor positions = at::arange(max_positions, at::kLong).to(at::kFloat);
  const at::Tensor angles = positions.unsqueeze(1) * InverseFrequencies(config, head_dim).unsqueeze(0);
  cos_ = ToVector(angles.cos());
  sin_ = ToVector(angles.sin());
}

void Rope::Rotate(Dtype dtype, const void* from, int64_t from_stride, void* to, int64_t to_stride, int64_t tokens,
                  int64_t first_position) const {
  const int64_t step_from = from_stride * DtypeBytes(dtype), step_to = to_stride * DtypeBytes(dtype);
  for (int64_t i = 0; i < tokens; ++i) {
    RotateRow(dtype, static_cast<const std::byte*>(from) + i * step_from, static_cast<std::byte*>(to) + i * step_to,
              Cos(first_position + i), Sin(first_position + i), half_);
  }
}

}  // namespace droidspeak
