// SPDX-License-Identifier: Apache-2.0
// An entry of the index: what is known of one block. <= 256 bytes a block (32 layers), + 16 an extent.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "cacheserver/index/block_memory.h"
#include "cacheserver/index/interval.h"
#include "common/key/digest.h"
#include "common/key/kind.h"
#include "common/transport/messages.h"

namespace droidspeak {

// Another tenant's block is another block, whatever its hash.
struct BlockKey {
  uint32_t tenant = 0;
  Digest hash;

  friend bool operator==(const BlockKey&, const BlockKey&) = default;
  template <typename H>
  friend H AbslHashValue(H state, const BlockKey& key) {
    return H::combine(std::move(state), key.tenant, key.hash);
  }
};

// What the state bits of a layer say. An extent may be on host and disk at once, and a late filler may hold kFilling of
// an extent that another's fill has made ready.
enum class ExtentState : uint8_t { kHost = 0, kDisk = 1, kFilling = 2 };
inline constexpr int kExtentStates = 3;

// One extent that is there or being filled.
struct Extent {
  std::byte* host = nullptr;  // in the pool; null when it is on disk only or being filled
  uint64_t checksum = 0;
};
static_assert(sizeof(Extent) == 16);

// Layers whose recency is kept, and which are evicted, together.
inline constexpr uint32_t kGroupLayers = 8;

// One allocation holds the fixed part, the bitmaps, the recencies and intervals; extents of a kind lie in one array,
// ordered by layer, with exactly the layers that have a state bit. All fields but the constant ones are guarded by the
// mutex of the block's shard (index.h). A block stays allocated while it is linked in the index, referenced, or
// offered.
struct Block {
  static Block* Create(BlockMemory& memory, const BlockKey& key, uint32_t namespace_id, const Digest& parent,
                       uint32_t position, uint32_t layers);
  // `memory` is what it was created in.
  static void Destroy(BlockMemory& memory, Block* block);

  const BlockKey key;
  const Digest parent;  // hash of the block before, or the namespace
  const uint32_t namespace_id;
  const uint32_t position;
  const uint16_t layers;
  uint16_t pins = 0;
  uint32_t references = 0;  // readers; nothing of the block is evicted meanwhile
  uint32_t offers = 0;      // keep the entry, not its extents
  uint32_t expiry = 0;      // Unix seconds; 0: never
  bool linked = false;      // found by key; false: removed, only waits for its last user

  uint32_t words() const { return (layers + 63u) / 64; }
  uint32_t groups() const { return (layers + kGroupLayers - 1) / kGroupLayers; }

  bool Has(ExtentState state, Kind kind, uint32_t layer) const {
    return (bits(state, kind)[layer / 64] >> (layer % 64)) & 1;
  }
  // Host or disk.
  bool Ready(Kind kind, uint32_t layer) const {
    return Has(ExtentState::kHost, kind, layer) || Has(ExtentState::kDisk, kind, layer);
  }
  wire::LayerBits Bits(ExtentState state, Kind kind) const;
  wire::LayerBits ReadyBits(Kind kind) const;
  // The layers of a group with `state`, as a byte: bit i is layer group * kGroupLayers + i.
  uint8_t GroupBits(ExtentState state, Kind kind, uint32_t group) const;
  bool Empty() const;  // no extent in any state

  // Adds or takes away states; extents without one are forgotten, new ones have no host slot and checksum 0.
  void Set(ExtentState state, Kind kind, uint32_t layer);
  void Set(ExtentState state, Kind kind, const wire::LayerBits& layers);
  void Clear(ExtentState state, Kind kind, uint32_t layer);
  void Clear(ExtentState state, Kind kind, const wire::LayerBits& layers);

  // The extent of a layer that has some state, else null. Valid until the next Set or Clear of this kind.
  Extent* Find(Kind kind, uint32_t layer);
  const Extent* Find(Kind kind, uint32_t layer) const { return const_cast<Block*>(this)->Find(kind, layer); }

  // When the group was last used, in the index's ticks.
  uint32_t& last_use(Kind kind, uint32_t group) { return ticks()[static_cast<size_t>(kind) * groups() + group]; }
  uint32_t last_use(Kind kind, uint32_t group) const { return const_cast<Block*>(this)->last_use(kind, group); }
  // How long it usually is between its uses.
  Interval interval(Kind kind, uint32_t group) const {
    return intervals()[static_cast<size_t>(kind) * groups() + group];
  }
  // The group is used at `tick`: notes when, and how long after the last time.
  void Use(Kind kind, uint32_t group, uint32_t tick);

  // Bytes of memory that its extents occupy.
  size_t extents_bytes() const;

 private:
  Block(const BlockKey& key, uint32_t namespace_id, const Digest& parent, uint32_t position, uint32_t layers);
  ~Block();

  uint64_t* bits(ExtentState state, Kind kind) const {
    auto* words_start = reinterpret_cast<uint64_t*>(const_cast<Block*>(this) + 1);
    return words_start + (static_cast<size_t>(state) * 2 + static_cast<size_t>(kind)) * words();
  }
  uint32_t* ticks() { return reinterpret_cast<uint32_t*>(bits(ExtentState::kHost, Kind::kKv) + 6 * words()); }
  Interval* intervals() const {
    auto* after_ticks = const_cast<Block*>(this)->ticks() + size_t{2} * groups();
    return reinterpret_cast<Interval*>(after_ticks);
  }
  static size_t AllocationBytes(uint32_t layers);
  wire::LayerBits Present(Kind kind) const;
  // Re-lays the array of `kind` from the layers `before` to the layers that have a state now.
  void Reshape(Kind kind, const wire::LayerBits& before);

  Extent* extents_[2] = {nullptr, nullptr};
};

}  // namespace droidspeak
