// SPDX-License-Identifier: Apache-2.0
#include "engine/model/weight.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/tensor.h>

#include <algorithm>

#include "common/base/check.h"
#include "engine/model/packed_block.h"

namespace droidspeak {
namespace {

constexpr int64_t kBf16Bytes = 2;

int64_t RoundUp(int64_t value, int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

}  // namespace

Weight::Weight(const at::Tensor& plain)
    : out_(plain.size(0)), in_(plain.size(1)), packed_(plain.scalar_type() == at::kBFloat16 && in_ % 2 == 0) {
  DROIDSPEAK_CHECK(plain.is_contiguous());
  if (!packed_) {
    memory_ = plain;
    return;
  }
  memory_ = at::empty({RoundUp(out_, kBlockLanes), in_}, plain.options());
  const auto* const from = static_cast<const std::byte*>(plain.const_data_ptr());
  at::parallel_for(0, blocks(), 1, [&](int64_t first, int64_t end) {
    for (int64_t i = first; i < end; ++i) {
      const int64_t row = i * kBlockOutputs;
      PackBlockBf16(from + row * in_ * kBf16Bytes, std::min(kBlockOutputs, out_ - row), in_, BlockWidth(i),
                    const_cast<std::byte*>(Block(i)));
    }
  });
}

int64_t Weight::blocks() const {
  return (out_ + kBlockOutputs - 1) / kBlockOutputs;
}

const std::byte* Weight::Block(int64_t index) const {
  return static_cast<const std::byte*>(memory_.const_data_ptr()) + index * kBlockOutputs * in_ * kBf16Bytes;
}

int64_t Weight::BlockWidth(int64_t index) const {
  return std::min(kBlockOutputs, memory_.size(0) - index * kBlockOutputs);
}

at::Tensor Weight::Rows(absl::Span<const int64_t> rows) const {
  if (!packed_) return memory_.index_select(0, at::tensor(at::IntArrayRef(rows.data(), rows.size()), at::kLong));
  const auto count = static_cast<int64_t>(rows.size());
  for (const int64_t row : rows) DROIDSPEAK_CHECK(row >= 0 && row < out_);
  at::Tensor result = at::empty({count, in_}, memory_.options());
  auto* const to = static_cast<std::byte*>(result.data_ptr());
  constexpr int64_t kGrainRows = 16;
  at::parallel_for(0, count, kGrainRows, [&](int64_t first, int64_t end) {
    for (int64_t i = first; i < end; ++i) {
      const int64_t block = rows[i] / kBlockOutputs;
      UnpackRowBf16(Block(block), BlockWidth(block), rows[i] % kBlockOutputs, in_, to + i * in_ * kBf16Bytes);
    }
  });
  return result;
}

}  // namespace droidspeak
