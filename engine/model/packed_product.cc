// SPDX-License-Identifier: Apache-2.0
#include "engine/model/packed_product.h"

#include <ATen/native/CPUBlas.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <array>
#include <exception>
#include <memory>
#include <utility>

#include "c10/util/BFloat16.h"
#include "common/base/check.h"
#include "engine/model/packed_block.h"
#include "engine/model/parallel.h"

namespace droidspeak {
namespace {

constexpr int64_t kBf16Bytes = 2;
// Rows that are multiplied at once, with one block after the other of a group. With inputs of up to some thousand a
// tile and a group stay in a core's own cache; beyond, in the one that cores share.
constexpr int64_t kTileRows = 64;
constexpr int64_t kGroupBytes = 512 << 10;
// The last tile has a multiple of so many rows: libtorch generates a kernel for each number that is met, in each
// thread, and keeps it.
constexpr int64_t kRowStep = 8;

using at::native::cpublas::brgemm;
using at::native::cpublas::brgemm_release;

// Gives a thread's tile registers back (AMX), however its part ends.
struct TileRegisters {
  TileRegisters() = default;
  ~TileRegisters() { brgemm_release(); }
  TileRegisters(const TileRegisters&) = delete;
  TileRegisters& operator=(const TileRegisters&) = delete;
};

// Whether oneDNN has a kernel for this processor: one small product tells. libtorch refuses it below AVX-512, oneDNN
// without AVX512-BF16. (What libtorch says of itself, could_pack, is about AMX alone.)
bool TryBrgemm() {
  constexpr int64_t kSize = 16;
  std::array<c10::BFloat16, kSize * kSize> ones;
  ones.fill(1.0f);
  std::array<float, kSize * kSize> sums{};
  try {
    const TileRegisters registers;
    brgemm(kSize, kSize, kSize, kSize, kSize, kSize, /*add_C=*/false, ones.data(), ones.data(), sums.data(),
           /*is_vnni=*/true);
  } catch (const std::exception&) {
    return false;
  }
  return std::all_of(sums.begin(), sums.end(), [](float sum) { return sum == static_cast<float>(kSize); });
}

// Blocks that one thread should at least read.
int64_t GrainBlocks(int64_t in) {
  return std::max<int64_t>(1, kGrainBytes / (kBlockOutputs * in * kBf16Bytes));
}

bool HasBrgemm() {
  static const bool has = TryBrgemm();
  return has;
}

}  // namespace

PackedProduct::PackedProduct(const at::Tensor& x, const Weight& weight, const at::Tensor& bias, int64_t first,
                             int64_t count)
    : x_(x),
      weight_(weight),
      bias_(bias),
      rows_(x.size(0)),
      first_(first),
      count_(count),
      first_block_(first / kBlockOutputs),
      end_block_((first + count + kBlockOutputs - 1) / kBlockOutputs),
      result_(at::empty({rows_, count}, x.options())) {
  DROIDSPEAK_CHECK(x.scalar_type() == at::kBFloat16 && x.size(1) == weight.in() && x.stride(1) == 1);
  DROIDSPEAK_CHECK(first >= 0 && count >= 0 && first + count <= weight.out());
}

at::Tensor PackedProduct::Run() {
  if (rows_ <= kMostDotRows || !HasBrgemm()) {
    RunByDots();
  } else {
    RunByTiles();
  }
  return std::move(result_);
}

void PackedProduct::RunByDots() {
  const int64_t in = weight_.in();
  const std::unique_ptr<float[]> wide = Widened();
  ForEachUnit(end_block_ - first_block_, GrainBlocks(in), [&](int64_t unit) {
    alignas(64) std::array<float, kMostDotRows * kBlockOutputs> sums;
    const int64_t block = first_block_ + unit;
    for (int64_t row = 0; row < rows_; row += kMostDotRows) {
      const int64_t rows = std::min(kMostDotRows, rows_ - row);
      DotBlockBf16({.block = weight_.Block(block),
                    .width = weight_.BlockWidth(block),
                    .in = in,
                    .x = wide.get() + row * in,
                    .rows = rows,
                    .sums = sums.data()});
      Leave(sums.data(), block, row, rows);
    }
  });
}

std::unique_ptr<float[]> PackedProduct::Widened() const {
  const int64_t in = weight_.in();
  auto wide = std::make_unique_for_overwrite<float[]>(rows_ * in);
  const auto* const x = static_cast<const std::byte*>(x_.const_data_ptr());
  at::parallel_for(0, rows_, std::max<int64_t>(1, kGrainBytes / in), [&](int64_t first, int64_t end) {
    for (int64_t row = first; row < end; ++row) {
      WidenRowBf16(x + row * x_.stride(0) * kBf16Bytes, wide.get() + row * in, in);
    }
  });
  return wide;
}

void PackedProduct::RunByTiles() {
  const int64_t in = weight_.in(), stride = x_.stride(0);
  const auto* const x = x_.const_data_ptr<c10::BFloat16>();
  const int64_t tiles = (rows_ + kTileRows - 1) / kTileRows, blocks = end_block_ - first_block_;
  const int64_t last_row = (tiles - 1) * kTileRows, last_rows = rows_ - last_row;
  at::Tensor last;  // where the last tile's rows have to be made up to a multiple
  if (last_rows % kRowStep != 0) {
    last = at::zeros({(last_rows + kRowStep - 1) / kRowStep * kRowStep, in}, x_.options());
    last.narrow(0, 0, last_rows).copy_(x_.narrow(0, last_row, last_rows));
  }
  const int64_t group = std::max<int64_t>(1, kGroupBytes / (kBlockOutputs * in * kBf16Bytes));
  // Group by group, tile by tile, block by block; a thread takes a tile's part of a group.
  ForEachUnit<TileRegisters>(tiles * blocks, tiles > 1 ? group : GrainBlocks(in), [&](int64_t i, TileRegisters&) {
    const int64_t group_start = i / (group * tiles) * group;
    const int64_t size = std::min(group, blocks - group_start), within = i - group_start * tiles;
    const int64_t block = first_block_ + group_start + within % size, row = within / size * kTileRows;
    if (row == last_row && last.defined()) {
      RunTile(last.const_data_ptr<c10::BFloat16>(), in, last.size(0), row, last_rows, block);
    } else {
      const int64_t rows = std::min(kTileRows, rows_ - row);
      RunTile(x + row * stride, stride, rows, row, rows, block);
    }
  });
}

void PackedProduct::RunTile(const c10::BFloat16* x, int64_t stride, int64_t multiplied, int64_t row, int64_t rows,
                            int64_t block) {
  alignas(64) std::array<float, kTileRows * kBlockOutputs> sums;
  const int64_t width = weight_.BlockWidth(block);
  const auto* const values = reinterpret_cast<const c10::BFloat16*>(weight_.Block(block));
  brgemm(multiplied, width, weight_.in(), stride, width, width, /*add_C=*/false, x, values, sums.data(),
         /*is_vnni=*/true);
  Leave(sums.data(), block, row, rows);
}

void PackedProduct::Leave(const float* sums, int64_t block, int64_t row, int64_t rows) {
  const int64_t start = block * kBlockOutputs, width = weight_.BlockWidth(block);
  const int64_t from = std::max(start, first_), to = std::min(start + width, first_ + count_);
  const std::byte* const bias =
      bias_.defined() ? static_cast<const std::byte*>(bias_.const_data_ptr()) + from * kBf16Bytes : nullptr;
  auto* const result = static_cast<std::byte*>(result_.data_ptr());
  for (int64_t i = 0; i < rows; ++i) {
    RoundRowBf16(sums + i * width + (from - start), bias, result + ((row + i) * count_ + (from - first_)) * kBf16Bytes,
                 to - from);
  }
}

}  // namespace droidspeak
