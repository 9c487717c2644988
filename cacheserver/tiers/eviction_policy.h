// SPDX-License-Identifier: Apache-2.0
// Which extents leave a tier first; interval.h has what is known of each, StoreCore::WorthPromoting() what comes up.
#pragma once

#include <cstdint>
#include <vector>

#include "cacheserver/index/block.h"
#include "cacheserver/index/interval.h"

namespace droidspeak {

// What was used once is expected again after so many times its age (log2). So a new thing has its chance as long as it
// is young, and what a scan leaves behind goes before what was used again.
inline constexpr float kUsedOncePenalty = 3;
// What was read once, some time after it was stored, is expected after that time, or so many times its age (log2).
inline constexpr float kFirstPenalty = 1;
// What has been used again is expected after its usual interval, until it has been idle for so many times that (log2).
inline constexpr float kPatience = 1;
// Things used once that take up more than this share of the tier, the youngest first, are a crowd: a scan, which may
// come faster than anything ages. What is beyond the share is expected so much later (log2).
inline constexpr uint64_t kCrowdShare = 3;
inline constexpr float kCrowdPenalty = 5;
// These, and the weight of the past in NextInterval(), were chosen on traces of seeds 1 to 3; docs/results.md has
// others.

// What keeping something is worth, log2: `benefit`, what a byte of it saves when it is used (any unit that is the same
// for all that is compared), over the time until then; it was last used `age` ticks ago. Expecting things at their
// usual intervals, and not by recency alone, is what withstands scans and loops (LIRS: Jiang and Zhang, 2002); benefit
// by size is GDSF's (Cherkasova, 1998).
float Worth(float benefit, Interval interval, uint32_t age);

// What comes up from the tier below must be worth so much more (log2) than what has to go for it: else equals, as in a
// loop over more than fits, would push each other out all the time.
inline constexpr float kPromotionMargin = 0.25;

// The extents of a block, kind and group of layers that are in the tier to evict from.
struct EvictionCandidate {
  BlockKey block;
  Digest parent;
  uint32_t position = 0;
  Kind kind = Kind::kKv;
  uint16_t group = 0;
  uint32_t last_use = 0;
  Interval interval = 0;
  uint64_t bytes = 0;
  float worth = 0;       // of this by itself; OrderVictims raises it to that of what follows it in its chain
  bool crowded = false;  // set by OrderVictims: among things used once, beyond their share
  bool held = false;     // referenced, pinned, being filled: it stays, and so does all before it in its chain
};

// The victims, first to go first. Only the leading run of a chain is of use, so a chain goes from its last block
// backwards: a candidate comes after all candidates of its kind and group that follow it in its chain, and one with a
// held follower is left out. Chains are ordered by the worth of what they lose, least first.
std::vector<EvictionCandidate> OrderVictims(std::vector<EvictionCandidate> candidates);

}  // namespace droidspeak
