// SPDX-License-Identifier: Apache-2.0
// The usual time between uses of something, in a byte.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace droidspeak {

// From kLeastInterval on: known, the time between uses in ticks (see Index::NextTick) on a logarithmic scale of
// kIntervalSteps an octave. Below: what is known of something that was used only once since it was stored, or not at
// all. 0: not; 1 to kManyCloseUses: that often, in parts of one use; then: how long after storing, on a coarser scale.
// That says little: what a sender leaves, a receiver reads at once.
using Interval = uint8_t;
inline constexpr float kIntervalSteps = 8;
inline constexpr Interval kLeastInterval = 80;  // 1,000 ticks

// Uses that are closer than this are one: a request fetches a block in several parts.
inline constexpr uint32_t kOneUseTicks = 1000;
// After so many close uses in a row it is no single request any more.
inline constexpr Interval kManyCloseUses = 32;
inline constexpr float kFirstSteps = 2;  // an octave, of the time from storing to the first use

inline bool IsKnown(Interval interval) {
  return interval >= kLeastInterval;
}
inline bool SaysTicks(Interval interval) {  // known, or of the first use
  return interval > kManyCloseUses;
}
inline bool IsFirst(Interval interval) {
  return SaysTicks(interval) && !IsKnown(interval);
}

// log2 of the ticks that one says.
inline float Log2Ticks(Interval interval) {
  constexpr float kLeast = kLeastInterval / kIntervalSteps;
  return IsKnown(interval) ? static_cast<float>(interval) / kIntervalSteps
                           : kLeast + static_cast<float>(interval - kManyCloseUses - 1) / kFirstSteps;
}

// The interval of what had `before`, when it is used again after `ticks`; a known one goes a quarter of the way.
inline Interval NextInterval(Interval before, uint32_t ticks) {
  const bool close = ticks < kOneUseTicks;
  if (close && SaysTicks(before)) return before;
  if (close && before < kManyCloseUses) return static_cast<Interval>(before + 1);
  const float wait = std::log2(static_cast<float>(std::max(ticks, kOneUseTicks)));
  if (before == 0) {
    const long steps = std::lround(kFirstSteps * (wait - kLeastInterval / kIntervalSteps));
    return static_cast<Interval>(kManyCloseUses + 1 + std::clamp(steps, 0L, long{kLeastInterval - kManyCloseUses - 2}));
  }
  const float next = SaysTicks(before) ? (3 * Log2Ticks(before) + wait) / 4 : wait;
  return static_cast<Interval>(std::clamp(std::lround(kIntervalSteps * next), long{kLeastInterval}, 255L));
}

}  // namespace droidspeak
