// SPDX-License-Identifier: Apache-2.0
#include "engine/prefill/extent_unit.h"

namespace droidspeak {

ExtentUnit::ExtentUnit(const ModelConfig& config, Dtype dtype, int64_t block_tokens,
                       const std::vector<int64_t>& kv_layers, const std::vector<int64_t>& e_layers)
    : dtype_(dtype),
      block_tokens_(block_tokens),
      kv_heads_(config.kv_heads),
      head_dim_(config.head_dim),
      hidden_(config.hidden_size),
      kv_(config.layers, kAbsent),
      e_(config.layers, kAbsent) {
  for (int64_t layer : kv_layers) {
    kv_[layer] = unit_bytes_;
    unit_bytes_ += kv_bytes();
  }
  for (int64_t layer : e_layers) {
    e_[layer] = unit_bytes_;
    unit_bytes_ += e_bytes();
  }
}

ExtentUnit ExtentUnit::OfOneLayer(const ModelConfig& config, Dtype dtype, int64_t block_tokens,
                                  const std::vector<int64_t>& kv_layers, const std::vector<int64_t>& e_layers) {
  ExtentUnit unit(config, dtype, block_tokens, kv_layers, e_layers);
  const int64_t e_offset = kv_layers.empty() ? 0 : unit.kv_bytes();
  for (int64_t layer : kv_layers) unit.kv_[layer] = 0;
  for (int64_t layer : e_layers) unit.e_[layer] = e_offset;
  unit.unit_bytes_ = e_offset + (e_layers.empty() ? 0 : unit.e_bytes());
  return unit;
}

int64_t ExtentUnit::kv_bytes() const {
  return 2 * kv_heads_ * block_tokens_ * head_dim_ * static_cast<int64_t>(DtypeBytes(dtype_));
}

int64_t ExtentUnit::e_bytes() const {
  return block_tokens_ * hidden_ * static_cast<int64_t>(DtypeBytes(dtype_));
}

}  // namespace droidspeak
