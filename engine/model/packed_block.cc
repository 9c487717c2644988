// SPDX-License-Identifier: Apache-2.0
#include "engine/model/packed_block.h"

#include <cstring>

#include "engine/model/vectors.h"

namespace droidspeak {
namespace {

static_assert(kBlockLanes == kLanes);

// kRows rows times kVectors vectors of outputs. One order of additions, whatever the rows beside.
template <int kRows, int kVectors>
[[gnu::always_inline]] inline void DotVectors(const DotBlock& dot) {
  Floats totals[kRows][kVectors] = {};
  const auto* pairs = static_cast<const Words*>(dot.block);
  for (int64_t k = 0; k < dot.in; k += 2, pairs += kVectors) {
    for (int v = 0; v < kVectors; ++v) {
      Floats first, second;
      Split(pairs[v], first, second);
      for (int r = 0; r < kRows; ++r) {
        const float* const x = dot.x + r * dot.in + k;
        totals[r][v] += first * x[0];
        totals[r][v] += second * x[1];
      }
    }
  }
  std::memcpy(dot.sums, totals, sizeof(totals));
}

template <int kRows>
[[gnu::always_inline]] inline void DotRows(const DotBlock& dot) {
  switch (dot.width / kLanes) {
    case 1:
      return DotVectors<kRows, 1>(dot);
    case 2:
      return DotVectors<kRows, 2>(dot);
    case 3:
      return DotVectors<kRows, 3>(dot);
    case 4:
      return DotVectors<kRows, 4>(dot);
  }
}
static_assert(kBlockOutputs == 4 * kLanes);

}  // namespace

DROIDSPEAK_VECTOR_CLONES void DotBlockBf16(const DotBlock& dot) {
  switch (dot.rows) {
    case 1:
      return DotRows<1>(dot);
    case 2:
      return DotRows<2>(dot);
    case 3:
      return DotRows<3>(dot);
    case 4:
      return DotRows<4>(dot);
  }
}

DROIDSPEAK_VECTOR_CLONES void WidenRowBf16(const void* from, float* to, int64_t count) {
  for (int64_t i = 0; i < count; ++i) to[i] = Get(static_cast<const Bf16*>(from)[i]);
}

DROIDSPEAK_VECTOR_CLONES void RoundRowBf16(const float* sums, const void* bias, void* to, int64_t count) {
  const auto* const added = static_cast<const Bf16*>(bias);
  auto* const rounded = static_cast<Bf16*>(to);
  if (bias == nullptr) {
    for (int64_t i = 0; i < count; ++i) Put(sums[i], rounded[i]);
  } else {
    for (int64_t i = 0; i < count; ++i) Put(sums[i] + Get(added[i]), rounded[i]);
  }
}

// Moves bytes only: wider vectors would not make it faster.
void PackBlockBf16(const void* from, int64_t outputs, int64_t in, int64_t width, void* block) {
  const auto* const rows = static_cast<const uint16_t*>(from);
  auto* to = static_cast<uint16_t*>(block);
  for (int64_t k = 0; k < in; k += 2) {
    for (int64_t output = 0; output < outputs; ++output, to += 2)
      std::memcpy(to, rows + output * in + k, 2 * sizeof(*to));
    const int64_t padding = 2 * (width - outputs);
    std::memset(to, 0, padding * sizeof(*to));
    to += padding;
  }
}

void UnpackRowBf16(const void* block, int64_t width, int64_t output, int64_t in, void* to) {
  const auto* from = static_cast<const uint16_t*>(block) + 2 * output;
  auto* row = static_cast<uint16_t*>(to);
  for (int64_t k = 0; k < in; k += 2, from += 2 * width, row += 2) std::memcpy(row, from, 2 * sizeof(*row));
}

}  // namespace droidspeak
