// SPDX-License-Identifier: Apache-2.0
#include "cacheserver/tiers/eviction_policy.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/container/flat_hash_map.h"

namespace droidspeak {
namespace {

struct RunKey {
  BlockKey block;
  Kind kind;
  uint16_t group;
  friend bool operator==(const RunKey&, const RunKey&) = default;
  template <typename H>
  friend H AbslHashValue(H state, const RunKey& key) {
    return H::combine(std::move(state), key.block, key.kind, key.group);
  }
};

void PenaliseCrowd(std::vector<EvictionCandidate>& candidates) {
  uint64_t bytes = 0;
  std::vector<EvictionCandidate*> used_once;
  for (EvictionCandidate& candidate : candidates) {
    bytes += candidate.bytes;
    if (!IsKnown(candidate.interval)) used_once.push_back(&candidate);
  }
  std::sort(used_once.begin(), used_once.end(), [](const auto* a, const auto* b) { return a->last_use > b->last_use; });
  uint64_t younger = 0;
  for (EvictionCandidate* candidate : used_once) {
    candidate->crowded = younger > bytes / kCrowdShare;
    if (candidate->crowded) candidate->worth -= kCrowdPenalty;
    younger += candidate->bytes;
  }
}

}  // namespace

float Worth(float benefit, Interval interval, uint32_t age) {
  const float idle = std::log2(static_cast<float>(age) + 1);
  if (IsKnown(interval)) return benefit - std::max(Log2Ticks(interval), idle - kPatience);
  if (IsFirst(interval)) return benefit - std::max(Log2Ticks(interval), idle + kFirstPenalty);
  return benefit - (idle + kUsedOncePenalty);
}

std::vector<EvictionCandidate> OrderVictims(std::vector<EvictionCandidate> candidates) {
  PenaliseCrowd(candidates);
  // From the ends of the chains backwards, each block hands its worth and whether it is held to the one before it.
  std::sort(candidates.begin(), candidates.end(), [](const auto& a, const auto& b) { return a.position > b.position; });
  absl::flat_hash_map<RunKey, size_t> places;
  places.reserve(candidates.size());
  for (size_t i = 0; i < candidates.size(); ++i) {
    places.emplace(RunKey{candidates[i].block, candidates[i].kind, candidates[i].group}, i);
  }
  for (const EvictionCandidate& candidate : candidates) {
    const auto found = places.find(RunKey{{candidate.block.tenant, candidate.parent}, candidate.kind, candidate.group});
    if (found == places.end()) continue;
    EvictionCandidate& parent = candidates[found->second];
    parent.held |= candidate.held;
    parent.worth = std::max(parent.worth, candidate.worth);
  }
  std::erase_if(candidates, [](const auto& candidate) { return candidate.held; });
  std::stable_sort(candidates.begin(), candidates.end(), [](const auto& a, const auto& b) {
    return std::pair(a.worth, ~a.position) < std::pair(b.worth, ~b.position);
  });
  return candidates;
}

}  // namespace droidspeak
