// SPDX-License-Identifier: Apache-2.0
#include "engine/model/rope.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/pow.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/where.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <new>

#include "engine/model/kernels.h"

namespace droidspeak {
namespace {

// The steps of transformers' modeling_rope_utils, with its operations in its order: the same fp32 roundings.

// Each pair of dimensions' exponent.
at::Tensor Exponents(const RopeConfig& config) {
  return at::arange(0, config.rotated_dims, 2, at::kLong).to(at::kFloat) / config.rotated_dims;
}

at::Tensor Plain(const RopeConfig& config) {
  return 1.0 / at::pow(at::Scalar(config.theta), Exponents(config));
}

at::Tensor Llama3(const RopeConfig& config) {
  const at::Tensor plain = Plain(config);
  const auto original = static_cast<double>(config.original_max_positions);
  const double low_wavelength = original / config.low_freq_factor, high_wavelength = original / config.high_freq_factor;
  const at::Tensor wavelength = 2 * M_PI / plain;
  const at::Tensor scaled = at::where(wavelength > low_wavelength, plain / config.factor, plain);
  const at::Tensor smooth =
      (original / wavelength - config.low_freq_factor) / (config.high_freq_factor - config.low_freq_factor);
  const at::Tensor smoothed = (1 - smooth) * scaled / config.factor + smooth * scaled;
  const at::Tensor medium = (wavelength >= high_wavelength).logical_and(wavelength <= low_wavelength);
  return at::where(medium, smoothed, scaled);
}

// Beyond the original length transformers has the sequence's length in a tensor, so that theta is an fp32 number, too.
at::Tensor Dynamic(const RopeConfig& config, int64_t reach) {
  const auto original = static_cast<double>(config.original_max_positions);
  const double exponent = static_cast<double>(config.rotated_dims) / static_cast<double>(config.rotated_dims - 2);
  if (reach <= config.original_max_positions) {
    const double stretch = config.factor * original / original - (config.factor - 1);
    return 1.0 / at::pow(at::Scalar(config.theta * std::pow(stretch, exponent)), Exponents(config));
  }
  const at::Tensor length = at::tensor(reach, at::kLong).squeeze();
  const at::Tensor stretch = length * config.factor / original - (config.factor - 1);
  return 1.0 / at::pow(config.theta * at::pow(stretch, exponent), Exponents(config));
}

at::Tensor Yarn(const RopeConfig& config) {
  const auto dims = static_cast<double>(config.rotated_dims);
  const auto original = static_cast<double>(config.original_max_positions);
  // The dimension that turns that often within the original length.
  const auto dimension = [&](double turns) {
    return dims * std::log(original / (turns * 2 * M_PI)) / (2 * std::log(config.theta));
  };
  double low = dimension(config.beta_fast), high = dimension(config.beta_slow);
  if (config.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, dims - 1);
  if (low == high) high += 0.001;
  const at::Tensor wavelengths = at::pow(at::Scalar(config.theta), Exponents(config));
  const at::Tensor plain = 1.0 / wavelengths, stretched = 1.0 / (config.factor * wavelengths);
  const at::Tensor ramp =
      ((at::arange(config.rotated_dims / 2, at::kFloat) - low) / (high - low)).clamp(at::Scalar(0), at::Scalar(1));
  const at::Tensor keep = 1 - ramp;
  return stretched * (1 - keep) + plain * keep;
}

at::Tensor Longrope(const RopeConfig& config, int64_t reach) {
  const bool is_short = RegimeOf(config, reach) == Regime::kShort;
  const std::vector<double>& factors = is_short ? config.short_factors : config.long_factors;
  return 1.0 / (at::tensor(factors, at::kFloat) * at::pow(at::Scalar(config.theta), Exponents(config)));
}

at::Tensor InverseFrequencies(const RopeConfig& config, int64_t reach) {
  switch (config.kind) {
    case RopeKind::kDefault:
      break;
    case RopeKind::kLinear:
      return Plain(config) / config.factor;
    case RopeKind::kDynamic:
      return Dynamic(config, reach);
    case RopeKind::kLlama3:
      return Llama3(config);
    case RopeKind::kYarn:
      return Yarn(config);
    case RopeKind::kLongrope:
      return Longrope(config, reach);
  }
  return Plain(config);
}

std::vector<float> ToVector(const at::Tensor& tensor) {
  const at::Tensor flat = tensor.contiguous();
  return {flat.data_ptr<float>(), flat.data_ptr<float>() + flat.numel()};
}

}  // namespace

Rope::Rope(const RopeConfig& config, int64_t head_dim, int64_t max_positions, int64_t reach)
    : head_dim_(head_dim),
      half_(config.rotated_dims / 2),
      max_positions_(max_positions),
      attention_factor_(config.attention_factor),
      inverse_frequencies_(ToVector(InverseFrequencies(config, reach))),
      tables_(new Table[(max_positions + kTablePositions - 1) / kTablePositions]) {}

// Angles in fp32, as transformers has them. By libm: the vectorised functions of libtorch's MKL, called for the first
// time from several threads, are suspected of having given a table with errors of 1e-4 now and then.
void Rope::MakeTable(int64_t index, Table& table) const {
  const int64_t first = index * kTablePositions, end = std::min(first + kTablePositions, max_positions_);
  const auto factor = static_cast<float>(attention_factor_);
  table.cos.resize((end - first) * half_);
  table.sin.resize((end - first) * half_);
  for (int64_t position = first; position < end; ++position) {
    const int64_t row = (position - first) * half_;
    for (int64_t i = 0; i < half_; ++i) {
      const float angle = static_cast<float>(position) * inverse_frequencies_[i];
      table.cos[row + i] = std::cos(angle) * factor;
      table.sin[row + i] = std::sin(angle) * factor;
    }
  }
}

const Rope::Table& Rope::TableOf(int64_t position) const {
  const int64_t index = position / kTablePositions;
  Table& table = tables_[index];
  absl::call_once(table.once, [&] {
    try {
      MakeTable(index, table);
    } catch (...) {  // an exception would leave others waiting for good
      table.sin.clear();
    }
  });
  if (table.sin.empty()) throw std::bad_alloc();
  return table;
}

void Rope::RotateHead(Dtype dtype, const void* from, void* to, int64_t position) const {
  const Table& table = TableOf(position);
  const int64_t offset = position % kTablePositions * half_;
  RotateRow(dtype, from, to, &table.cos[offset], &table.sin[offset], half_);
  const int64_t rotated = 2 * half_;
  if (rotated == head_dim_ || from == to) return;
  const int64_t bytes = static_cast<int64_t>(DtypeBytes(dtype));
  std::memcpy(static_cast<std::byte*>(to) + rotated * bytes, static_cast<const std::byte*>(from) + rotated * bytes,
              (head_dim_ - rotated) * bytes);
}

void Rope::Rotate(Dtype dtype, const void* from, int64_t from_stride, void* to, int64_t to_stride, int64_t tokens,
                  int64_t first_position) const {
  const int64_t step_from = from_stride * DtypeBytes(dtype), step_to = to_stride * DtypeBytes(dtype);
  for (int64_t i = 0; i < tokens; ++i) {
    RotateHead(dtype, static_cast<const std::byte*>(from) + i * step_from, static_cast<std::byte*>(to) + i * step_to,
               first_position + i);
  }
}

}  // namespace droidspeak
