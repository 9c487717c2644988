// SPDX-License-Identifier: Apache-2.0
// Rows of sequences that have ended, kept in the slab for as long as nobody needs their slots.
#pragma once

#include <cstdint>
#include <list>
#include <vector>

#include "absl/types/span.h"
#include "common/key/layout.h"
#include "engine/model/kv_slab.h"
#include "engine/model/runtime_adapter.h"

namespace droidspeak {

// Whose KV it is: that of one kind says nothing about another.
struct KvKind {
  const RuntimeAdapter* adapter = nullptr;
  Regime regime = Regime::kNone;

  friend bool operator==(const KvKind&, const KvKind&) = default;
};

// How many tokens two sequences begin with alike.
[[nodiscard]] int64_t CommonPrefix(absl::Span<const int32_t> a, absl::Span<const int32_t> b);

// Owns the slots of its entries, which are exact: a model's own KV of all layers. Used by one thread.
class PrefixCache {
 public:
  // `slab` outlives it.
  explicit PrefixCache(KvSlab& slab) : slab_(slab) {}
  ~PrefixCache();
  PrefixCache(const PrefixCache&) = delete;
  PrefixCache& operator=(const PrefixCache&) = delete;

  struct Found {
    int64_t first_slot = 0;
    int64_t rows = 0;  // 0: nothing
  };
  // The entry that has the longest beginning of `tokens`; it counts as used. Valid until the next call.
  [[nodiscard]] Found Find(absl::Span<const int32_t> tokens, const KvKind& kind);

  // Takes over a run, whose rows are those of `tokens` (at least one, at most the run's slots).
  void Keep(SlotRun run, std::vector<int32_t> tokens, const KvKind& kind);

  // Gives the slots of the entry that was not used for longest back to the slab; false when there is none.
  bool EvictOne();

  [[nodiscard]] int64_t slots() const;
  [[nodiscard]] std::vector<SlotRun> runs() const;

 private:
  struct Entry {
    SlotRun run;
    std::vector<int32_t> tokens;
    KvKind kind;
  };

  KvSlab& slab_;
  std::list<Entry> entries_;  // the latest used first
};

}  // namespace droidspeak
