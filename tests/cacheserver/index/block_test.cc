// SPDX-License-Identifier: Apache-2.0
#include "cacheserver/index/block.h"

#include <map>
#include <memory>
#include <random>

#include "gtest/gtest.h"

namespace droidspeak {
namespace {

struct DestroyBlock {
  void operator()(Block* block) const { Block::Destroy(block); }
};
using BlockPtr = std::unique_ptr<Block, DestroyBlock>;

BlockPtr NewBlock(uint32_t layers) {
  return BlockPtr(Block::Create({1, Sha256Of("block")}, 0, Sha256Of("parent"), 0, layers));
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
