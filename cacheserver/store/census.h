// SPDX-License-Identifier: Apache-2.0
// What a store tells its operators: which tenants, namespaces and blocks there are, and what they take.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "cacheserver/quota.h"
#include "cacheserver/store/handles.h"
#include "common/key/digest.h"
#include "common/key/layout.h"
#include "common/transport/messages.h"

namespace droidspeak {

struct TenantInfo {
  std::string name;
  Quota quota;
  std::array<uint64_t, kTiers> bytes{};  // of extents, by Tier
};

struct NamespaceInfo {
  uint32_t id = 0;
  uint32_t tenant = 0;
  std::string tenant_name;
  Digest name;
  Layout layout;
  std::optional<Digest> model;  // where it is known
};

// What the blocks of a namespace take.
struct NamespaceUse {
  uint64_t blocks = 0;
  uint64_t pinned_blocks = 0;
  std::array<uint64_t, kTiers> bytes{};  // of extents, by Tier; an extent may be in several
};

struct BlockInfo {
  Digest hash;
  Digest parent;
  uint32_t position = 0;
  std::array<wire::LayerBits, 2> on_host{};  // by Kind
  std::array<wire::LayerBits, 2> on_disk{};
  std::optional<uint32_t> idle_ms;  // since its last use; nothing when it was not used since the start
  uint32_t pins = 0;                // sessions' and the operator's
  bool operator_pin = false;
  uint32_t expiry = 0;  // Unix seconds; 0: never
};

class StoreCore;

// Each looks through the index a shard at a time, under its lock; nothing else waits longer than for one shard.
absl::flat_hash_map<uint32_t, NamespaceUse> CountNamespaces(StoreCore& core);
// At most `limit` blocks that follow the block `after` in the order of the census: by shard of the index, then by hash.
// Without the operator's pins.
std::vector<BlockInfo> ListBlocks(StoreCore& core, uint32_t namespace_id, const std::optional<Digest>& after,
                                  size_t limit);
// Without the operator's pins. Nothing when the block is not there.
std::optional<BlockInfo> FindBlock(StoreCore& core, uint32_t tenant, uint32_t namespace_id, const Digest& hash);
// The namespace's blocks in one shard of the index.
std::vector<Digest> BlocksInShard(StoreCore& core, uint32_t namespace_id, size_t shard);

}  // namespace droidspeak
