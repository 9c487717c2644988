// SPDX-License-Identifier: Apache-2.0
// A product with a packed weight, in bf16.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "ATen/core/Tensor.h"
#include "c10/util/BFloat16.h"
#include "engine/model/weight.h"

namespace droidspeak {

// x weight^T + bias for some outputs of the weight, as Linear. Lives for one product; refers to its arguments.
class PackedProduct {
 public:
  PackedProduct(const at::Tensor& x, const Weight& weight, const at::Tensor& bias, int64_t first, int64_t count);

  // [rows, count]
  [[nodiscard]] at::Tensor Run();

 private:
  // By our own kernel, which reads each block once for up to kMostDotRows rows: as fast as memory allows.
  void RunByDots();
  // x in fp32, its rows next to each other.
  [[nodiscard]] std::unique_ptr<float[]> Widened() const;
  // By oneDNN's kernels, which not every processor has, tile by tile.
  void RunByTiles();
  // `x`: the tile's rows, `stride` elements apart, as many as are multiplied; the first `rows` of them count.
  void RunTile(const c10::BFloat16* x, int64_t stride, int64_t multiplied, int64_t row, int64_t rows, int64_t block);
  // Adds the bias to what a block's outputs gave for these rows, sums [rows, BlockWidth(block)], and rounds the wanted
  // ones into the result.
  void Leave(const float* sums, int64_t block, int64_t row, int64_t rows);

  const at::Tensor& x_;
  const Weight& weight_;
  const at::Tensor& bias_;
  const int64_t rows_, first_, count_;
  const int64_t first_block_, end_block_;  // those with wanted outputs
  at::Tensor result_;
};

}  // namespace droidspeak
