// SPDX-License-Identifier: Apache-2.0
#include "cacheserver/index/block.h"

#include <algorithm>
#include <cstring>
#include <new>

namespace droidspeak {
namespace {

uint32_t Count(const wire::LayerBits& bits) {
  uint32_t count = 0;
  for (uint64_t word : bits) count += std::popcount(word);
  return count;
}

// How many bits are set before `layer`.
uint32_t Rank(const wire::LayerBits& bits, uint32_t layer) {
  uint32_t rank = 0;
  for (uint32_t word = 0; word < layer / 64; ++word) rank += std::popcount(bits[word]);
  return rank + std::popcount(bits[layer / 64] & ((uint64_t{1} << (layer % 64)) - 1));
}

bool Test(const wire::LayerBits& bits, uint32_t layer) {
  return (bits[layer / 64] >> (layer % 64)) & 1;
}

wire::LayerBits Only(uint32_t layer) {
  wire::LayerBits bits{};
  bits[layer / 64] = uint64_t{1} << (layer % 64);
  return bits;
}

}  // namespace

size_t Block::AllocationBytes(uint32_t layers) {
  const size_t words = (layers + 63u) / 64;
  const size_t groups = (layers + kGroupLayers - 1) / kGroupLayers;
  return sizeof(Block) + size_t{kExtentStates} * 2 * words * sizeof(uint64_t) +
         2 * groups * (sizeof(uint32_t) + sizeof(Interval));
}

Block* Block::Create(BlockMemory& memory, const BlockKey& key, uint32_t namespace_id, const Digest& parent,
                     uint32_t position, uint32_t layers) {
  static_assert(sizeof(Block) % alignof(uint64_t) == 0);
  auto* block = new (memory.Allocate(AllocationBytes(layers))) Block(key, namespace_id, parent, position, layers);
  std::memset(static_cast<void*>(block + 1), 0, AllocationBytes(layers) - sizeof(Block));
  return block;
}

void Block::Destroy(BlockMemory& memory, Block* block) {
  const size_t bytes = AllocationBytes(block->layers);
  block->~Block();
  memory.Free(block, bytes);
}

Block::Block(const BlockKey& key, uint32_t namespace_id, const Digest& parent, uint32_t position, uint32_t layers)
    : key(key), parent(parent), namespace_id(namespace_id), position(position), layers(static_cast<uint16_t>(layers)) {}

Block::~Block() {
  delete[] extents_[0];
  delete[] extents_[1];
}

wire::LayerBits Block::Bits(ExtentState state, Kind kind) const {
  wire::LayerBits out{};
  std::copy_n(bits(state, kind), words(), out.begin());
  return out;
}

wire::LayerBits Block::ReadyBits(Kind kind) const {
  wire::LayerBits out{};
  for (uint32_t i = 0; i < words(); ++i) out[i] = bits(ExtentState::kHost, kind)[i] | bits(ExtentState::kDisk, kind)[i];
  return out;
}

wire::LayerBits Block::Present(Kind kind) const {
  wire::LayerBits out = ReadyBits(kind);
  for (uint32_t i = 0; i < words(); ++i) out[i] |= bits(ExtentState::kFilling, kind)[i];
  return out;
}

uint8_t Block::GroupBits(ExtentState state, Kind kind, uint32_t group) const {
  static_assert(64 % kGroupLayers == 0 && kGroupLayers == 8, "a group is a byte of a word");
  const uint32_t layer = group * kGroupLayers;
  return static_cast<uint8_t>(bits(state, kind)[layer / 64] >> (layer % 64));
}

bool Block::Empty() const {
  return Count(Present(Kind::kKv)) == 0 && Count(Present(Kind::kE)) == 0;
}

void Block::Set(ExtentState state, Kind kind, uint32_t layer) {
  Set(state, kind, Only(layer));
}

void Block::Set(ExtentState state, Kind kind, const wire::LayerBits& layers) {
  const wire::LayerBits before = Present(kind);
  for (uint32_t i = 0; i < words(); ++i) bits(state, kind)[i] |= layers[i];
  Reshape(kind, before);
}

void Block::Clear(ExtentState state, Kind kind, uint32_t layer) {
  Clear(state, kind, Only(layer));
}

void Block::Clear(ExtentState state, Kind kind, const wire::LayerBits& layers) {
  const wire::LayerBits before = Present(kind);
  for (uint32_t i = 0; i < words(); ++i) bits(state, kind)[i] &= ~layers[i];
  Reshape(kind, before);
}

void Block::Reshape(Kind kind, const wire::LayerBits& before) {
  const wire::LayerBits after = Present(kind);
  if (after == before) return;
  Extent*& extents = extents_[static_cast<size_t>(kind)];
  const uint32_t count = Count(after);
  Extent* reshaped = count == 0 ? nullptr : new Extent[count];
  uint32_t from = 0;
  uint32_t to = 0;
  for (uint32_t layer = 0; layer < layers; ++layer) {
    const bool was = Test(before, layer);
    if (Test(after, layer)) {
      if (was) reshaped[to] = extents[from];
      ++to;
    }
    from += was ? 1 : 0;
  }
  delete[] extents;
  extents = reshaped;
}

Extent* Block::Find(Kind kind, uint32_t layer) {
  const wire::LayerBits present = Present(kind);
  if (layer >= layers || !Test(present, layer)) return nullptr;
  return &extents_[static_cast<size_t>(kind)][Rank(present, layer)];
}

void Block::Use(Kind kind, uint32_t group, uint32_t tick) {
  uint32_t& last = last_use(kind, group);
  if (tick == last) return;  // another extent of the group, in the same use
  Interval& interval = intervals()[static_cast<size_t>(kind) * groups() + group];
  interval = NextInterval(interval, tick - std::min(tick, last));
  last = tick;
}

size_t Block::extents_bytes() const {
  return (Count(Present(Kind::kKv)) + Count(Present(Kind::kE))) * sizeof(Extent);
}

}  // namespace droidspeak
