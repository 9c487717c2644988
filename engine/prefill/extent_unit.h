// SPDX-License-Identifier: Apache-2.0
// The memory of one block, or of one layer of it: chosen layers' KV and E extents, each as data-model.md lays it out
// (K, then V, [kv_heads, block_tokens, head_dim]; E [block_tokens, hidden]).
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "engine/model/config.h"
#include "engine/model/dtype.h"

namespace droidspeak {

// Where each extent lies in a unit. A plain value.
class ExtentUnit {
 public:
  static constexpr int64_t kAbsent = -1;

  // Units with KV of `kv_layers` and E of `e_layers`, one after the other.
  ExtentUnit(const ModelConfig& config, Dtype dtype, int64_t block_tokens, const std::vector<int64_t>& kv_layers,
             const std::vector<int64_t>& e_layers);
  // Units for one of these layers, whichever: all layers' KV is at the same place, and so is their E.
  [[nodiscard]] static ExtentUnit OfOneLayer(const ModelConfig& config, Dtype dtype, int64_t block_tokens,
                                             const std::vector<int64_t>& kv_layers,
                                             const std::vector<int64_t>& e_layers);

  [[nodiscard]] Dtype dtype() const { return dtype_; }
  [[nodiscard]] int64_t block_tokens() const { return block_tokens_; }
  [[nodiscard]] int64_t kv_heads() const { return kv_heads_; }
  [[nodiscard]] int64_t head_dim() const { return head_dim_; }
  [[nodiscard]] int64_t hidden() const { return hidden_; }
  [[nodiscard]] int64_t layers() const { return static_cast<int64_t>(kv_.size()); }

  [[nodiscard]] int64_t kv_bytes() const;  // of one extent
  [[nodiscard]] int64_t e_bytes() const;
  [[nodiscard]] int64_t unit_bytes() const { return unit_bytes_; }

  // Offset of the extent in a unit, or kAbsent.
  [[nodiscard]] int64_t kv_offset(int64_t layer) const { return kv_[layer]; }
  [[nodiscard]] int64_t e_offset(int64_t layer) const { return e_[layer]; }

 private:
  Dtype dtype_;
  int64_t block_tokens_, kv_heads_, head_dim_, hidden_;
  int64_t unit_bytes_ = 0;
  std::vector<int64_t> kv_, e_;  // by layer
};

}  // namespace droidspeak
