// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <bit>
#include <utility>

#include "cacheserver/store/evictor.h"

namespace droidspeak {
namespace {

// Whether the group has something in `tier`, or is to be known because it holds what precedes it there.
bool Matters(const Block& block, Tier tier, bool demotes, Kind kind, uint32_t group, bool& held) {
  const bool host = block.GroupBits(ExtentState::kHost, kind, group) != 0;
  const bool disk = block.GroupBits(ExtentState::kDisk, kind, group) != 0;
  const bool filling = block.GroupBits(ExtentState::kFilling, kind, group) != 0;
  const bool here = tier == Tier::kHost ? host : disk;
  // Present elsewhere only: nothing to take here, but on disk the blocks before it must not go first.
  const bool above = tier == Tier::kRocksdb && host && !disk;
  // What only moves down stays present: a fill may be larger than the pool, so its first layers must be able to go.
  held |= (filling && !demotes) || above;
  return here || filling || above;
}

// A look at the index serves so much of the tier: what comes meanwhile may be worth less than what is left then.
constexpr uint64_t kLookShare = 8;

void KeepFirst(std::vector<EvictionCandidate>& victims, uint64_t bytes) {
  size_t count = 0;
  for (uint64_t kept = 0; count < victims.size() && kept <= bytes; ++count) kept += victims[count].bytes;
  victims.resize(count);
  victims.shrink_to_fit();
}

}  // namespace

void EvictionPlan::Make(StoreCore& core, bool demotes, Reach reach, const TenantEntry* tenant) {
  Index& index = core.index();
  index.Settle();
  index.Age();
  const uint32_t start = core.NextTick();
  const ExtentState state = tier_ == Tier::kHost ? ExtentState::kHost : ExtentState::kDisk;
  std::vector<EvictionCandidate> candidates;
  const NamespaceEntry* space = nullptr;  // of the block before: mostly the same
  index.ForEach([&](Index::Locked&, Block* block) {
    if (tenant != nullptr && block->key.tenant != tenant->id) return;
    if (space == nullptr || space->row.id != block->namespace_id) space = core.namespaces().Find(block->namespace_id);
    for (Kind kind : kKinds) {
      for (uint32_t group = 0; group < block->groups(); ++group) {
        uint32_t& last_use = block->last_use(kind, group);
        // A pinned block may move down: what is pinned must not keep all others out of memory.
        bool held = block->references > 0 || (block->pins > 0 && !demotes);
        if (!Matters(*block, tier_, demotes, kind, group, held)) continue;
        if (last_use > index.CurrentTick()) last_use = start - 1;  // a tick from before Age()
        // Used while we look: what we see of its chain may be torn.
        held = reach != Reach::kEverything && (held || last_use >= start);
        // Nothing here yet, and nothing held by it.
        if (!held && block->GroupBits(state, kind, group) == 0) continue;
        // What only moves down saves reading it again, a byte of it as much as of any other.
        const float benefit = demotes ? 0 : space->benefit(kind);
        const Interval interval = block->interval(kind, group);
        const uint64_t bytes = std::popcount(block->GroupBits(state, kind, group)) * space->extent_bytes(kind);
        candidates.push_back({block->key, block->parent, block->position, kind, static_cast<uint16_t>(group), last_use,
                              interval, bytes, Worth(benefit, interval, start - std::min(start, last_use)), false,
                              held});
      }
    }
  });
  uint64_t bytes = 0;
  for (const EvictionCandidate& candidate : candidates) bytes += candidate.bytes;
  victims_ = OrderVictims(std::move(candidates));
  const size_t all = victims_.size();
  if (reach == Reach::kShare) KeepFirst(victims_, bytes / kLookShare);
  cut_ = victims_.size() < all;
  next_ = 0;
  blocked_.clear();
}

std::optional<EvictionCandidate> EvictionPlan::Next() {
  while (next_ < victims_.size()) {
    const EvictionCandidate& victim = victims_[next_++];
    if (!blocked_.contains(Run{victim.block, victim.kind, victim.group})) return victim;
    Keep(victim);
  }
  return std::nullopt;
}

void EvictionPlan::Keep(const EvictionCandidate& victim) {
  blocked_.insert(Run{{victim.block.tenant, victim.parent}, victim.kind, victim.group});
}

}  // namespace droidspeak
