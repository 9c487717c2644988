// SPDX-License-Identifier: Apache-2.0
// Which extents leave a tier first. The one file to replace for another policy.
#pragma once

#include <cstdint>
#include <vector>

#include "cacheserver/index/block.h"

namespace droidspeak {

// The extents of a block, kind and group of layers that are in the tier to evict from.
struct EvictionCandidate {
  BlockKey block;
  Digest parent;
  uint32_t position = 0;
  Kind kind = Kind::kKv;
  uint16_t group = 0;
  uint32_t last_use = 0;
  uint32_t heat = 0;  // set by OrderVictims
  bool held = false;  // referenced, pinned, being filled: it stays, and so does all before it in its chain
};

// The victims, first to go first. Only the leading run of a chain is of use, so a chain goes from its last block
// backwards: a candidate comes after all candidates of its kind and group that follow it in its chain, and one with a
// held follower is left out. Chains are ordered by the most recent use of what they lose, coldest first.
std::vector<EvictionCandidate> OrderVictims(std::vector<EvictionCandidate> candidates);

}  // namespace droidspeak
