// SPDX-License-Identifier: Apache-2.0
#include "cacheserver/index/index.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "absl/container/inlined_vector.h"

namespace droidspeak {
namespace {

// When ticks reach this they are halved towards zero, long before they wrap.
constexpr uint32_t kAgeAtTick = 0xF0000000u;
constexpr uint32_t kAgeBy = 0x80000000u;
// Touches that wait. Most of them end where a later one of the same chain has been.
constexpr size_t kTouches = 1024;

}  // namespace

Index::~Index() {
  for (Shard& shard : shards_) {
    for (Block* block : shard.blocks) Block::Destroy(memory_, block);
  }
}

size_t Index::ShardOf(const BlockKey& key) {
  // Hashes are uniform: their last byte will do, and leaves the rest to the tables.
  return key.hash.bytes.back() % kShards;
}

Index::Locked::Locked(Index* index, size_t shard) ABSL_NO_THREAD_SAFETY_ANALYSIS : index_(index), shard_(shard) {
  index_->shards_[shard_].mutex.Lock();
}

Index::Locked::~Locked() ABSL_NO_THREAD_SAFETY_ANALYSIS {
  index_->shards_[shard_].mutex.Unlock();
}

Index::Locked Index::Lock(const BlockKey& key) const {
  return Locked(const_cast<Index*>(this), ShardOf(key));
}

Block* Index::Locked::Find(const BlockKey& key) const {
  const auto& blocks = index_->shards_[shard_].blocks;
  const auto found = blocks.find(key);
  return found == blocks.end() ? nullptr : *found;
}

Block* Index::Locked::Insert(const BlockKey& key, uint32_t namespace_id, const Digest& parent, uint32_t position,
                             uint32_t layers) {
  Block* block = Block::Create(index_->memory_, key, namespace_id, parent, position, layers);
  block->linked = true;
  index_->shards_[shard_].blocks.insert(block);
  index_->blocks_.fetch_add(1, std::memory_order_relaxed);
  return block;
}

void Index::Locked::Unlink(Block* block) {
  index_->shards_[shard_].blocks.erase(block);
  index_->blocks_.fetch_sub(1, std::memory_order_relaxed);
  block->linked = false;
}

bool Index::Locked::Collect(Block* block) {
  if (block->references > 0 || block->offers > 0) return false;
  if (block->linked) {
    if (block->pins > 0 || !block->Empty()) return false;
    Unlink(block);
  }
  Block::Destroy(index_->memory_, block);
  return true;
}

void Index::Reserve(uint64_t blocks) {
  for (Shard& shard : shards_) {
    absl::MutexLock lock(&shard.mutex);
    shard.blocks.reserve(blocks / kShards);
  }
}

void Index::FindEach(uint32_t tenant, absl::Span<const Digest> hashes,
                     absl::FunctionRef<void(size_t i, Block* block)> visit) const {
  // Sorted by shard.
  std::array<uint32_t, kShards + 1> ends{};
  for (const Digest& hash : hashes) ++ends[ShardOf({tenant, hash}) + 1];
  std::partial_sum(ends.begin(), ends.end(), ends.begin());
  absl::InlinedVector<uint32_t, 64> order(hashes.size());
  for (uint32_t i = 0; i < hashes.size(); ++i) order[ends[ShardOf({tenant, hashes[i]})]++] = i;

  // Several at a time, so that their cache misses overlap.
  constexpr size_t kTogether = 16;
  for (size_t shard = 0, at = 0; at < order.size(); ++shard) {
    if (at == ends[shard]) continue;
    const Locked locked(const_cast<Index*>(this), shard);
    const auto& table = shards_[shard].blocks;
    while (at < ends[shard]) {
      const size_t together = std::min<size_t>(ends[shard] - at, kTogether);
      std::array<Block*, kTogether> found;
      for (size_t i = 0; i < together && together > 1; ++i) table.prefetch(BlockKey{tenant, hashes[order[at + i]]});
      for (size_t i = 0; i < together; ++i) {
        const auto guess = table.find(Guess{{tenant, hashes[order[at + i]]}});
        found[i] = guess == table.end() ? nullptr : *guess;
        __builtin_prefetch(found[i]);
        __builtin_prefetch(found[i] + 1);  // its bits
      }
      for (size_t i = 0; i < together; ++i) {
        const BlockKey key{tenant, hashes[order[at + i]]};
        if (found[i] != nullptr && found[i]->key != key) found[i] = locked.Find(key);
        visit(order[at + i], found[i]);
      }
      at += together;
    }
  }
}

void Index::ForEach(const std::function<void(Locked& shard, Block* block)>& visit) const {
  for (size_t shard = 0; shard < kShards; ++shard) ForEachIn(shard, visit);
}

void Index::ForEachIn(size_t shard, const std::function<void(Locked& shard, Block* block)>& visit) const {
  Locked locked(const_cast<Index*>(this), shard);
  // A copy, so that visitors may unlink what they are given.
  const std::vector<Block*> blocks(shards_[shard].blocks.begin(), shards_[shard].blocks.end());
  for (Block* block : blocks) visit(locked, block);
}

uint32_t Index::NextTick(uint64_t now_ms) {
  uint32_t last = tick_.load(std::memory_order_acquire);
  uint32_t next = 0;
  do {
    // After `last`: who sees ticks that Age() has taken back sees by how much as well.
    const uint64_t aged_by = aged_by_.load(std::memory_order_acquire);
    const auto now = static_cast<uint32_t>(now_ms > aged_by ? std::min<uint64_t>(now_ms - aged_by, kAgeAtTick) : 0);
    next = std::max(last + 1, now);
  } while (!tick_.compare_exchange_weak(last, next, std::memory_order_acq_rel, std::memory_order_acquire));
  return next;
}

void Index::Age() {
  if (CurrentTick() < kAgeAtTick) return;
  Settle();
  ForEach([](Locked&, Block* block) {
    for (Kind kind : {Kind::kKv, Kind::kE}) {
      for (uint32_t group = 0; group < block->groups(); ++group) {
        uint32_t& tick = block->last_use(kind, group);
        tick = tick > kAgeBy ? tick - kAgeBy : 0;
      }
    }
  });
  aged_by_.fetch_add(kAgeBy, std::memory_order_release);  // first: nobody may take the clock for the future meanwhile
  tick_.fetch_sub(kAgeBy, std::memory_order_release);
}

void Index::TouchAncestors(uint32_t tenant, const Digest& parent, const std::array<uint32_t, 2>& kinds_groups,
                           uint32_t tick) {
  bool full = false;
  {
    absl::MutexLock lock(&touches_mutex_);
    touches_.push_back({{tenant, parent}, kinds_groups, tick});
    full = touches_.size() >= kTouches;
  }
  if (full) Settle();
}

void Index::Settle() {
  std::vector<Touch> touches;
  {
    absl::MutexLock lock(&touches_mutex_);
    touches.swap(touches_);
  }
  // The latest first: what it has raised, earlier ones need not.
  std::stable_sort(touches.begin(), touches.end(), [](const Touch& a, const Touch& b) { return a.tick > b.tick; });
  for (const Touch& touch : touches) Apply(touch);
}

void Index::Apply(const Touch& touch) {
  BlockKey key = touch.from;
  uint32_t after = UINT32_MAX;
  while (true) {
    Locked shard = Lock(key);
    Block* block = shard.Find(key);
    // Positions are claims of clients: the walk ends even when parents form a ring.
    if (block == nullptr || block->position >= after) return;
    after = block->position;
    bool raised = false;
    for (Kind kind : {Kind::kKv, Kind::kE}) {
      for (uint32_t group = 0; group < block->groups(); ++group) {
        uint32_t& last = block->last_use(kind, group);
        if (((touch.kinds_groups[static_cast<size_t>(kind)] >> group) & 1) == 0 || last >= touch.tick) continue;
        last = touch.tick;
        raised = true;
      }
    }
    if (!raised || block->position == 0) return;  // who raised it has raised what precedes it
    key.hash = block->parent;
  }
}

uint64_t Index::memory_bytes() const {
  uint64_t bytes = memory_.taken_bytes();
  ForEach([&](Locked&, Block* block) { bytes += block->extents_bytes(); });
  for (size_t i = 0; i < kShards; ++i) {
    Locked shard(const_cast<Index*>(this), i);
    bytes += shards_[i].blocks.capacity() * (sizeof(Block*) + 1);
  }
  return bytes;
}

}  // namespace droidspeak
