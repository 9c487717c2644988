// SPDX-License-Identifier: Apache-2.0
#include "cacheserver/store/census.h"

#include <algorithm>

#include "cacheserver/store/core.h"

namespace droidspeak {
namespace {

uint64_t CountLayers(const wire::LayerBits& bits) {
  uint64_t count = 0;
  for (const uint64_t word : bits) count += static_cast<uint64_t>(std::popcount(word));
  return count;
}

BlockInfo InfoOf(const Block& block, uint32_t now) {
  BlockInfo info{block.key.hash, block.parent, block.position};
  uint32_t last = 0;
  for (Kind kind : kKinds) {
    const auto k = static_cast<size_t>(kind);
    info.on_host[k] = block.Bits(ExtentState::kHost, kind);
    info.on_disk[k] = block.Bits(ExtentState::kDisk, kind);
    for (uint32_t group = 0; group < block.groups(); ++group) last = std::max(last, block.last_use(kind, group));
  }
  if (last > 0) info.idle_ms = now - std::min(now, last);
  info.pins = block.pins;
  info.expiry = block.expiry;
  return info;
}

}  // namespace

absl::flat_hash_map<uint32_t, NamespaceUse> CountNamespaces(StoreCore& core) {
  absl::flat_hash_map<uint32_t, NamespaceUse> uses;
  core.index().ForEach([&](Index::Locked&, Block* block) {
    NamespaceUse& use = uses[block->namespace_id];
    ++use.blocks;
    use.pinned_blocks += block->pins > 0 ? 1 : 0;
    for (Kind kind : kKinds) {
      const uint64_t extent_bytes = core.ExtentBytes(*block, kind);
      use.bytes[static_cast<size_t>(Tier::kHost)] += CountLayers(block->Bits(ExtentState::kHost, kind)) * extent_bytes;
      use.bytes[static_cast<size_t>(Tier::kRocksdb)] +=
          CountLayers(block->Bits(ExtentState::kDisk, kind)) * extent_bytes;
    }
  });
  return uses;
}

std::vector<BlockInfo> ListBlocks(StoreCore& core, uint32_t namespace_id, const std::optional<Digest>& after,
                                  size_t limit) {
  core.index().Settle();
  const uint32_t now = core.NextTick();
  std::vector<BlockInfo> blocks;
  const size_t first = after ? Index::ShardOf(BlockKey{0, *after}) : 0;
  for (size_t shard = first; shard < Index::kShards && blocks.size() < limit; ++shard) {
    std::vector<BlockInfo> found;
    core.index().ForEachIn(shard, [&](Index::Locked&, Block* block) {
      if (block->namespace_id != namespace_id) return;
      if (after && shard == first && block->key.hash <= *after) return;
      found.push_back(InfoOf(*block, now));
    });
    const size_t taken = std::min(found.size(), limit - blocks.size());
    std::partial_sort(found.begin(), found.begin() + static_cast<std::ptrdiff_t>(taken), found.end(),
                      [](const BlockInfo& a, const BlockInfo& b) { return a.hash < b.hash; });
    blocks.insert(blocks.end(), found.begin(), found.begin() + static_cast<std::ptrdiff_t>(taken));
  }
  return blocks;
}

std::optional<BlockInfo> FindBlock(StoreCore& core, uint32_t tenant, uint32_t namespace_id, const Digest& hash) {
  core.index().Settle();
  const uint32_t now = core.NextTick();
  const BlockKey key{tenant, hash};
  Index::Locked shard = core.index().Lock(key);
  const Block* block = core.FindLive(shard, key, namespace_id);
  if (block == nullptr) return std::nullopt;
  return InfoOf(*block, now);
}

std::vector<Digest> BlocksInShard(StoreCore& core, uint32_t namespace_id, size_t shard) {
  std::vector<Digest> hashes;
  core.index().ForEachIn(shard, [&](Index::Locked&, Block* block) {
    if (block->namespace_id == namespace_id) hashes.push_back(block->key.hash);
  });
  return hashes;
}

}  // namespace droidspeak
