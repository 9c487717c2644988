// SPDX-License-Identifier: Apache-2.0
// A weight of a matrix product, in the order in which the product reads it.
#pragma once

#include <cstddef>
#include <cstdint>

#include "ATen/core/Tensor.h"
#include "absl/types/span.h"

namespace droidspeak {

// [out, in] of fp32 or bf16. In bf16 with an even `in` it is packed once, when it is loaded, instead of in every
// product: outputs stand in blocks of kBlockOutputs, the last one narrower, as [in / 2][outputs of the block][2]. A
// product of few rows reads that from front to end. Pairs of inputs are what processors that multiply bf16
// (AVX512-BF16, AMX) take at a time, so that products of many rows rearrange nothing either. The last block's outputs
// are rounded up to kBlockLanes, a vector of sums; those too many are zeros. Immutable: any number of threads may use
// it.
class Weight {
 public:
  Weight() = default;  // undefined
  // `plain` is contiguous; packed, its memory is not kept. Packs on libtorch's threads.
  explicit Weight(const at::Tensor& plain);

  [[nodiscard]] bool defined() const { return memory_.defined(); }
  [[nodiscard]] int64_t out() const { return out_; }
  [[nodiscard]] int64_t in() const { return in_; }
  [[nodiscard]] bool is_packed() const { return packed_; }
  // All its values in the order in which they stand: [out, in] as it was given, or the blocks.
  [[nodiscard]] const at::Tensor& memory() const { return memory_; }

  // Of a packed weight. Block i has outputs [i kBlockOutputs, (i + 1) kBlockOutputs).
  [[nodiscard]] int64_t blocks() const;
  [[nodiscard]] const std::byte* Block(int64_t index) const;
  // Outputs that the block has in memory, a multiple of kBlockLanes.
  [[nodiscard]] int64_t BlockWidth(int64_t index) const;

  // [rows, in]: rows of the weight as it was given; each must be in [0, out).
  [[nodiscard]] at::Tensor Rows(absl::Span<const int64_t> rows) const;

 private:
  int64_t out_ = 0, in_ = 0;
  bool packed_ = false;
  at::Tensor memory_;
};

}  // namespace droidspeak
