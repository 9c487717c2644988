// SPDX-License-Identifier: Apache-2.0
// A block of a packed weight (weight.h): [in / 2][width][2] of bf16, the outputs' weights of two inputs side by side.
// Serial; memory is the caller's.
#pragma once

#include <cstdint>

namespace droidspeak {

inline constexpr int64_t kBlockOutputs = 64;  // the width of all but a weight's last
inline constexpr int64_t kBlockLanes = 16;    // a width is a multiple of it
// `from`: outputs' rows [outputs, in]; those up to `width` are zeros in the block.
void PackBlockBf16(const void* from, int64_t outputs, int64_t in, int64_t width, void* block);
// to [in] = the row of one output.
void UnpackRowBf16(const void* block, int64_t width, int64_t output, int64_t in, void* to);

// A few rows times a block. Each weight is read once, in the order it stands in memory.
struct DotBlock {
  const void* block;
  int64_t width;
  int64_t in;
  const float* x;  // [rows, in]
  int64_t rows;    // 1 to kMostDotRows
  float* sums;     // [rows, width]
};
inline constexpr int64_t kMostDotRows = 4;
void DotBlockBf16(const DotBlock& dot);

// to = from, in fp32.
void WidenRowBf16(const void* from, float* to, int64_t count);

// to (bf16) = sums + bias (bf16, or null).
void RoundRowBf16(const float* sums, const void* bias, void* to, int64_t count);

}  // namespace droidspeak
