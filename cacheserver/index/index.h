// SPDX-License-Identifier: Apache-2.0
// The index: all blocks by (tenant, hash), in shards with a mutex each.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_set.h"
#include "absl/functional/function_ref.h"
#include "absl/synchronization/mutex.h"
#include "absl/types/span.h"
#include "cacheserver/index/block.h"

namespace droidspeak {

// Thread-safe. Owns the blocks. Knows nothing of tiers: who clears a state bit frees the memory behind it, before.
// No thread ever holds two shards.
class Index {
 public:
  Index() = default;
  ~Index();
  Index(const Index&) = delete;
  Index& operator=(const Index&) = delete;

  // A locked shard: the one way to blocks' fields. Keep it short.
  class Locked {
   public:
    ~Locked();
    Locked(const Locked&) = delete;
    Locked& operator=(const Locked&) = delete;

    // The linked block of `key`, which must belong to this shard, or null.
    Block* Find(const BlockKey& key) const;
    // Links a new block; its key must not be linked.
    Block* Insert(const BlockKey& key, uint32_t namespace_id, const Digest& parent, uint32_t position, uint32_t layers);
    // Makes the block unknown. Destroys it now or at the Collect() that finds it without users.
    void Unlink(Block* block);
    // Destroys the block if nothing keeps it: unlinked or empty, and without references, offers and pins.
    // True if it is gone.
    bool Collect(Block* block);

   private:
    friend class Index;
    explicit Locked(Index* index, size_t shard);
    Index* const index_;
    const size_t shard_;
  };
  Locked Lock(const BlockKey& key) const;

  // Calls visit(i, block) for each of hashes[i] of a tenant, in no particular order: the linked block, under its
  // shard's lock, or null. Faster than as many Lock()s: the processor looks for the next while it waits for memory.
  void FindEach(uint32_t tenant, absl::Span<const Digest> hashes,
                absl::FunctionRef<void(size_t i, Block* block)> visit) const;
  // Visits every linked block, a shard at a time under its lock. `visit` may Unlink and Collect the block it is given.
  void ForEach(const std::function<void(Locked& shard, Block* block)>& visit) const;
  // The same of one shard.
  void ForEachIn(size_t shard, const std::function<void(Locked& shard, Block* block)>& visit) const;
  static constexpr size_t kShards = 64;
  static size_t ShardOf(const BlockKey& key);

  // Recency. Each use gets a tick of its own, later than all before; ticks keep up with `now_ms`, a steady clock, so
  // that differences are milliseconds unless uses come faster. Age() makes room when the numbers run out (call it now
  // and then).
  uint32_t NextTick(uint64_t now_ms);
  uint32_t CurrentTick() const { return tick_.load(std::memory_order_relaxed); }
  void Age();

  // Raises the recency of `kinds_groups[kind]` (bit i: group i) of the block and of all its ancestors that are here, so
  // that no ancestor is ever colder than what follows it. Stops at an ancestor that is not linked. Takes effect with
  // the next Settle(), or when many have come together: a chain is long, and whoever reads from it often is in a hurry.
  void TouchAncestors(uint32_t tenant, const Digest& parent, const std::array<uint32_t, 2>& kinds_groups,
                      uint32_t tick);
  // Lets all touches take effect. To be called before recencies are compared.
  void Settle();

  // Makes the tables large enough for so many blocks.
  void Reserve(uint64_t blocks);
  uint64_t blocks() const { return blocks_.load(std::memory_order_relaxed); }
  // Memory of blocks, their arrays and the tables.
  uint64_t memory_bytes() const;

 private:
  // Finds what is probably the block of a key: its hash has some bits of the key's. Doesn't look at the block, so that
  // whoever wants many need not wait for the memory of each.
  struct Guess {
    BlockKey key;
  };
  struct HashKey {
    using is_transparent = void;
    size_t operator()(const BlockKey& key) const { return absl::HashOf(key.tenant, key.hash); }
    size_t operator()(const Guess& guess) const { return (*this)(guess.key); }
    size_t operator()(const Block* block) const { return (*this)(block->key); }
  };
  struct EqualKey {
    using is_transparent = void;
    static const BlockKey& Key(const BlockKey& key) { return key; }
    static const BlockKey& Key(const Block* block) { return block->key; }
    template <typename A, typename B>
    bool operator()(const A& a, const B& b) const {
      return Key(a) == Key(b);
    }
    template <typename B>
    bool operator()(const Guess&, const B&) const {
      return true;
    }
    template <typename A>
    bool operator()(const A&, const Guess&) const {
      return true;
    }
  };
  struct alignas(64) Shard {
    absl::Mutex mutex;
    absl::flat_hash_set<Block*, HashKey, EqualKey> blocks;
  };

  struct Touch {
    BlockKey from;
    std::array<uint32_t, 2> kinds_groups;
    uint32_t tick;
  };
  void Apply(const Touch& touch);

  BlockMemory memory_;  // outlives the blocks
  mutable std::array<Shard, kShards> shards_;
  absl::Mutex touches_mutex_;  // never taken by who holds a shard
  std::vector<Touch> touches_ ABSL_GUARDED_BY(touches_mutex_);
  std::atomic<uint32_t> tick_{1};
  std::atomic<uint64_t> aged_by_{0};  // what Age() has taken off the ticks
  std::atomic<uint64_t> blocks_{0};
};

}  // namespace droidspeak
