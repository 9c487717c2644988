// SPDX-License-Identifier: Apache-2.0
// Rotary position embedding. Frequencies, angles, cosines and sines are computed in fp32 exactly as transformers does
// (more exact angles miss its logits); the rotation itself runs in fp32 and rounds once.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/model/config.h"
#include "engine/model/dtype.h"

namespace droidspeak {

// Cosines and sines of every position up to `max_positions`. Immutable after construction: any thread may use it.
class Rope {
 public:
  Rope(const RopeConfig& config, int64_t head_dim, int64_t max_positions);

  [[nodiscard]] int64_t head_dim() const { return half_ * 2; }
  [[nodiscard]] int64_t max_positions() const { return max_positions_; }

  // [head_dim / 2] values of one position < max_positions().
  [[nodiscard]] const float* Cos(int64_t position) const { return &cos_[position * half_]; }
  [[nodiscard]] const float* Sin(int64_t position) const { return &sin_[position * half_]; }

  // Rotates `tokens` vectors of one head, the first at `first_position`: `from` + i * from_stride to `to` + i *
  // to_stride (strides in elements of `dtype`). In place is allowed. Bit for bit what the forward does to its own keys.
  void Rotate(Dtype dtype, const void* from, int64_t from_stride, void* to, int64_t to_stride, int64_t tokens,
              int64_t first_position) const;

 private:
  int64_t half_;
  int64_t max_positions_;
  std::vector<float> cos_;  // [max_positions, half_]
  std::vector<float> sin_;
};

}  // namespace droidspeak
