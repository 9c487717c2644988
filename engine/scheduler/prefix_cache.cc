// SPDX-License-Identifier: Apache-2.0
#include "engine/scheduler/prefix_cache.h"

#include <algorithm>
#include <utility>

#include "common/base/check.h"

namespace droidspeak {

int64_t CommonPrefix(absl::Span<const int32_t> a, absl::Span<const int32_t> b) {
  const size_t shorter = std::min(a.size(), b.size());
  return std::mismatch(a.begin(), a.begin() + static_cast<std::ptrdiff_t>(shorter), b.begin()).first - a.begin();
}

PrefixCache::~PrefixCache() {
  while (EvictOne()) {
  }
}

// There are as many entries as sequences fit into the slab: comparing them all costs less than a forward's first layer.
PrefixCache::Found PrefixCache::Find(absl::Span<const int32_t> tokens, const KvKind& kind) {
  Found found;
  auto best = entries_.end();
  for (auto entry = entries_.begin(); entry != entries_.end(); ++entry) {
    if (entry->kind != kind) continue;
    const int64_t rows = CommonPrefix(entry->tokens, tokens);
    if (rows <= found.rows) continue;
    found = {.first_slot = entry->run.first, .rows = rows};
    best = entry;
  }
  if (best != entries_.end()) entries_.splice(entries_.begin(), entries_, best);
  return found;
}

void PrefixCache::Keep(SlotRun run, std::vector<int32_t> tokens, const KvKind& kind) {
  const auto rows = static_cast<int64_t>(tokens.size());
  DROIDSPEAK_CHECK(rows > 0 && rows <= run.count);
  if (run.count > rows) slab_.Release({.first = run.first + rows, .count = run.count - rows});
  run.count = rows;
  for (auto entry = entries_.begin(); entry != entries_.end();) {
    const int64_t common = entry->kind == kind ? CommonPrefix(entry->tokens, tokens) : 0;
    if (common == rows) {  // nothing new
      slab_.Release(run);
      entries_.splice(entries_.begin(), entries_, entry);
      return;
    }
    if (common == static_cast<int64_t>(entry->tokens.size())) {  // the new one has all of it
      slab_.Release(entry->run);
      entry = entries_.erase(entry);
    } else {
      ++entry;
    }
  }
  entries_.push_front({.run = run, .tokens = std::move(tokens), .kind = kind});
}

bool PrefixCache::EvictOne() {
  if (entries_.empty()) return false;
  slab_.Release(entries_.back().run);
  entries_.pop_back();
  return true;
}

int64_t PrefixCache::slots() const {
  int64_t slots = 0;
  for (const Entry& entry : entries_) slots += entry.run.count;
  return slots;
}

std::vector<SlotRun> PrefixCache::runs() const {
  std::vector<SlotRun> runs;
  for (const Entry& entry : entries_) runs.push_back(entry.run);
  return runs;
}

}  // namespace droidspeak
