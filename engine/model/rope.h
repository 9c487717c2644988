// SPDX-License-Identifier: Apache-2.0
// Rotary position embedding. Frequencies, angles, cosines and sines are computed in fp32 exactly as transformers does
// (more exact angles miss its logits); the rotation itself runs in fp32 and rounds once.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/base/call_once.h"
#include "engine/model/dtype.h"
#include "engine/model/rope_config.h"

namespace droidspeak {

// How the sequences of one reach (rope_config.h) are rotated. Tables of cosines and sines are made for kTablePositions
// at a time, when the first of them is asked for. Any thread may use it.
class Rope {
 public:
  static constexpr int64_t kTablePositions = 4096;

  // For a sequence of that reach, at positions below `max_positions`.
  Rope(const RopeConfig& config, int64_t head_dim, int64_t max_positions, int64_t reach);

  [[nodiscard]] int64_t head_dim() const { return head_dim_; }
  [[nodiscard]] int64_t max_positions() const { return max_positions_; }

  // One head's vector at `position`, from `from` to `to` (in place is allowed). Bit for bit the same wherever keys come
  // from.
  void RotateHead(Dtype dtype, const void* from, void* to, int64_t position) const;

  // The same for `tokens` vectors, the first at `first_position`: `from` + i * from_stride to `to` + i * to_stride
  // (strides in elements of `dtype`).
  void Rotate(Dtype dtype, const void* from, int64_t from_stride, void* to, int64_t to_stride, int64_t tokens,
              int64_t first_position) const;

 private:
  struct Table {
    absl::once_flag once;
    std::vector<float> cos, sin;  // [kTablePositions or what is left, half_]
  };

  void MakeTable(int64_t index, Table& table) const;
  // Throws when there is no memory for it, as libtorch does.
  [[nodiscard]] const Table& TableOf(int64_t position) const;

  const int64_t head_dim_;
  const int64_t half_;  // of the dimensions that are rotated
  const int64_t max_positions_;
  const double attention_factor_;
  const std::vector<float> inverse_frequencies_;  // [half_]
  const std::unique_ptr<Table[]> tables_;
};

}  // namespace droidspeak
