// SPDX-License-Identifier: Apache-2.0
// Where the rows of a matrix stand: what kernels take, without a tensor for each part.
#pragma once

#include <cstddef>
#include <cstdint>

#include "ATen/core/Tensor.h"

namespace droidspeak {

// Rows whose elements are contiguous. Refers to the matrix, which outlives it.
class Rows {
 public:
  Rows(std::byte* data, int64_t stride_bytes) : data_(data), stride_(stride_bytes) {}
  // From column `first` on.
  explicit Rows(const at::Tensor& matrix, int64_t first = 0)
      : data_(static_cast<std::byte*>(matrix.data_ptr()) + first * matrix.element_size()),
        stride_(matrix.stride(0) * matrix.element_size()) {}

  [[nodiscard]] std::byte* operator[](int64_t row) const { return data_ + row * stride_; }
  [[nodiscard]] int64_t stride_bytes() const { return stride_; }
  [[nodiscard]] Rows From(int64_t row) const { return {(*this)[row], stride_}; }

 private:
  std::byte* data_;
  int64_t stride_;
};

}  // namespace droidspeak
