// SPDX-License-Identifier: Apache-2.0
#include "cacheserver/index/block.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <memory>
#include <random>
#include <utility>
#include <vector>

#include "gtest/gtest.h"

namespace droidspeak {
namespace {

BlockMemory memory;

struct DestroyBlock {
  void operator()(Block* block) const { Block::Destroy(memory, block); }
};
using BlockPtr = std::unique_ptr<Block, DestroyBlock>;

BlockPtr NewBlock(uint32_t layers) {
  return BlockPtr(Block::Create(memory, {1, Sha256Of("block")}, 0, Sha256Of("parent"), 0, layers));
}

TEST(BlockMemoryTest, PiecesOfAllSizesKeepWhatIsWrittenToThem) {
  BlockMemory pieces;
  std::mt19937_64 random(5);
  struct Piece {
    std::byte* start;
    size_t bytes;
    std::byte value;
  };
  std::vector<Piece> held;
  for (int step = 0; step < 100'000; ++step) {
    if (held.empty() || random() % 5 < 3) {
      const size_t bytes = 1 + random() % BlockMemory::kMaxBytes;
      auto* const start = static_cast<std::byte*>(pieces.Allocate(bytes));
      ASSERT_EQ(reinterpret_cast<uintptr_t>(start) % 16, 0);
      held.push_back({start, bytes, static_cast<std::byte>(random())});
      std::memset(start, static_cast<int>(held.back().value), bytes);
    } else {
      std::swap(held[random() % held.size()], held.back());
      const Piece& piece = held.back();
      ASSERT_TRUE(std::all_of(piece.start, piece.start + piece.bytes, [&](std::byte b) { return b == piece.value; }));
      pieces.Free(piece.start, piece.bytes);
      held.pop_back();
    }
  }
  for (const Piece& piece : held) {
    EXPECT_TRUE(std::all_of(piece.start, piece.start + piece.bytes, [&](std::byte b) { return b == piece.value; }));
    pieces.Free(piece.start, piece.bytes);
  }
}

TEST(BlockMemoryTest, WhatIsGivenBackIsUsedAgain) {
  BlockMemory pieces;
  for (int i = 0; i < 100'000; ++i) pieces.Free(pieces.Allocate(200), 200);
  EXPECT_LE(pieces.taken_bytes(), size_t{2} << 20);
}

TEST(BlockTest, NewBlockIsEmpty) {
  for (uint32_t layers : {1u, 64u, 65u, 256u}) {
    const BlockPtr block = NewBlock(layers);
    EXPECT_TRUE(block->Empty());
    EXPECT_EQ(block->Find(Kind::kKv, 0), nullptr);
    EXPECT_EQ(block->Find(Kind::kE, layers), nullptr);
    EXPECT_EQ(block->last_use(Kind::kE, block->groups() - 1), 0);
  }
}

TEST(BlockTest, ExtentsKeepTheirValuesWhileOthersComeAndGo) {
  constexpr uint32_t kLayers = 200;
  const BlockPtr block = NewBlock(kLayers);
  std::map<std::pair<Kind, uint32_t>, uint64_t> model;  // to the checksum
  std::mt19937_64 random(3);
  for (int step = 0; step < 20000; ++step) {
    const Kind kind = random() % 2 == 0 ? Kind::kKv : Kind::kE;
    const auto layer = static_cast<uint32_t>(random() % kLayers);
    const ExtentState state = static_cast<ExtentState>(random() % kExtentStates);
    if (random() % 2 == 0) {
      const bool known = block->Find(kind, layer) != nullptr;
      block->Set(state, kind, layer);
      ASSERT_EQ(known, model.contains({kind, layer}));
      Extent* extent = block->Find(kind, layer);
      ASSERT_NE(extent, nullptr);
      if (known) {
        ASSERT_EQ(extent->checksum, (model[{kind, layer}]));
      } else {
        ASSERT_EQ(extent->host, nullptr);
        extent->checksum = model[{kind, layer}] = random();
      }
    } else {
      block->Clear(state, kind, layer);
      if (block->Find(kind, layer) == nullptr) model.erase({kind, layer});
    }
    ASSERT_EQ(block->Empty(), model.empty());
  }
  for (const auto& [key, checksum] : model) EXPECT_EQ(block->Find(key.first, key.second)->checksum, checksum);
}

TEST(BlockTest, GroupBitsAreTheGroupsLayers) {
  const BlockPtr block = NewBlock(100);
  block->Set(ExtentState::kDisk, Kind::kE, 65);
  block->Set(ExtentState::kDisk, Kind::kE, 71);
  block->Set(ExtentState::kHost, Kind::kE, 66);
  EXPECT_EQ(block->GroupBits(ExtentState::kDisk, Kind::kE, 8), 0x82);
  EXPECT_EQ(block->GroupBits(ExtentState::kHost, Kind::kE, 8), 0x04);
  EXPECT_EQ(block->GroupBits(ExtentState::kDisk, Kind::kKv, 8), 0);
  EXPECT_EQ(block->ReadyBits(Kind::kE)[1], 0x86u);
  EXPECT_EQ(block->groups(), 13);
}

}  // namespace
}  // namespace droidspeak
