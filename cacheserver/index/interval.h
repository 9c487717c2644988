// SPDX-License-Identifier: Apache-2.0
// The usual time between uses of something, in a byte.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace droidspeak {

// Ticks between uses (see Index::NextTick) on a logarithmic scale of kIntervalSteps an octave, from 1. 0: not used
// again yet.
using Interval = uint8_t;
inline constexpr float kIntervalSteps = 8;

// Uses that are closer than this, in ticks, are one: a request fetches a block in several parts.
inline constexpr uint32_t kOneUseTicks = 1000;

// The interval of something that had `before`, and is used again after `ticks`: a quarter of the way there.
inline Interval NextInterval(Interval before, uint32_t ticks) {
  const float steps = std::min(1 + kIntervalSteps * std::log2(static_cast<float>(std::max(ticks, 1U))), 255.0F);
  return static_cast<Interval>(std::lround(before == 0 ? steps : (3 * static_cast<float>(before) + steps) / 4));
}

// log2 of the ticks that it says; of one that is not 0.
inline float Log2Ticks(Interval interval) {
  return static_cast<float>(interval - 1) / kIntervalSteps;
}

}  // namespace droidspeak
