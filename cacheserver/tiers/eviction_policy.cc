// SPDX-License-Identifier: Apache-2.0
#include "cacheserver/tiers/eviction_policy.h"

#include <algorithm>
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

}  // namespace

std::vector<EvictionCandidate> OrderVictims(std::vector<EvictionCandidate> candidates) {
  // From the ends of the chains backwards, each block hands its heat and whether it is held to the one before it.
  std::sort(candidates.begin(), candidates.end(), [](const auto& a, const auto& b) { return a.position > b.position; });
  absl::flat_hash_map<RunKey, size_t> places;
  places.reserve(candidates.size());
  for (size_t i = 0; i < candidates.size(); ++i) {
    candidates[i].heat = candidates[i].last_use;
    places.emplace(RunKey{candidates[i].block, candidates[i].kind, candidates[i].group}, i);
  }
  for (const EvictionCandidate& candidate : candidates) {
    const auto found = places.find(RunKey{{candidate.block.tenant, candidate.parent}, candidate.kind, candidate.group});
    if (found == places.end()) continue;
    EvictionCandidate& parent = candidates[found->second];
    parent.held |= candidate.held;
    parent.heat = std::max(parent.heat, candidate.heat);
  }
  std::erase_if(candidates, [](const auto& candidate) { return candidate.held; });
  std::stable_sort(candidates.begin(), candidates.end(), [](const auto& a, const auto& b) {
    return std::pair(a.heat, ~a.position) < std::pair(b.heat, ~b.position);
  });
  return candidates;
}

}  // namespace droidspeak
