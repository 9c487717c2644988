// SPDX-License-Identifier: Apache-2.0
#include "tests/cacheserver/store/store_model.h"

#include "gtest/gtest.h"

namespace droidspeak::testing {

uint64_t ModelBlock::HeldBytes() const {
  std::set<ExtentKey> held = filling;
  for (const auto& [extent, version] : ready) held.insert(extent);
  uint64_t bytes = 0;
  for (const ExtentKey& extent : held) bytes += space->layout.extent_bytes(extent.first);
  return bytes;
}

void StoreModel::SetTime(int64_t unix_seconds) {
  now_ = unix_seconds;
  PurgeExpired();
}

void StoreModel::PurgeExpired() {
  std::erase_if(blocks_, [&](const auto& entry) { return entry.second.pins.empty() && entry.second.expiry <= now_; });
}

ModelBlock* StoreModel::Find(const Space& space, const Digest& hash) {
  const auto found = blocks_.find({space.tenant, hash});
  return found == blocks_.end() || found->second.space != &space ? nullptr : &found->second;
}

ModelBlock& StoreModel::FindOrMake(const Space& space, const Digest& hash) {
  const auto [entry, made] = blocks_.try_emplace({space.tenant, hash});
  if (made) {
    entry->second.space = &space;
    entry->second.generation = ++generations_;
    entry->second.expiry = now_ + ttl_seconds_;
  }
  return entry->second;
}

void StoreModel::Settle(const Space& space, const Digest& hash) {
  const auto found = blocks_.find({space.tenant, hash});
  if (found != blocks_.end() && !Kept(found->second)) blocks_.erase(found);
}

void StoreModel::Unpin(const Space& space, const Digest& hash, OwnerId owner) {
  Find(space, hash)->pins.erase(owner);
  Settle(space, hash);
  PurgeExpired();
}

void StoreModel::UnpinAll(OwnerId owner) {
  for (auto& [key, block] : blocks_) block.pins.erase(owner);
  std::erase_if(blocks_, [](const auto& entry) { return !Kept(entry.second); });
  PurgeExpired();
}

void StoreModel::Restart(bool keeps) {
  if (!keeps) blocks_.clear();
  for (auto& [key, block] : blocks_) {
    block.filling.clear();
    block.pins.clear();
    block.offers = block.references = 0;
  }
  std::erase_if(blocks_, [](const auto& entry) { return !Kept(entry.second); });
}

void StoreModel::Observe(const Space& space, const Digest& hash, const wire::BlockCoverage& coverage) {
  ModelBlock* const block = Find(space, hash);
  for (const Kind kind : {Kind::kKv, Kind::kE}) {
    const wire::LayerBits& bits = kind == Kind::kKv ? coverage.kv : coverage.e;
    for (uint16_t layer = 0; layer < wire::kMaxLayers; ++layer) {
      const bool there = ((bits[layer / 64] >> (layer % 64)) & 1) != 0;
      const bool expected = block != nullptr && block->ready.contains({kind, layer});
      if (there == expected) continue;
      ASSERT_FALSE(there) << "layer " << layer << " of block " << hash.Hex() << " is there: it was never filled, or "
                          << "it was removed or has expired";
      ASSERT_TRUE(evicts_) << "layer " << layer << " of block " << hash.Hex() << " is gone, and there is room";
      ASSERT_TRUE(block->pins.empty()) << "an extent of a pinned block is gone";
      ASSERT_EQ(block->references, 0) << "an extent of a referenced block is gone";
      block->ready.erase({kind, layer});
      ++evicted_;
    }
  }
  Settle(space, hash);
}

uint64_t StoreModel::pinned_bytes() const {
  uint64_t bytes = 0;
  for (const auto& [key, block] : blocks_) {
    for (const auto& [owner, pinned] : block.pins) bytes += pinned;
  }
  return bytes;
}

size_t StoreModel::extents() const {
  size_t extents = 0;
  for (const auto& [key, block] : blocks_) extents += block.ready.size();
  return extents;
}

}  // namespace droidspeak::testing
