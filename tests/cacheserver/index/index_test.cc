// SPDX-License-Identifier: Apache-2.0
#include "cacheserver/index/index.h"

#include <malloc.h>

#include <algorithm>
#include <iostream>
#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace droidspeak {
namespace {

Digest Hash(uint32_t i) {
  return Sha256Of(std::to_string(i));
}

void Put(Index& index, const BlockKey& key, const Digest& parent, uint32_t position) {
  Index::Locked shard = index.Lock(key);
  shard.Insert(key, 0, parent, position, 32)->Set(ExtentState::kDisk, Kind::kKv, 0);
}

uint32_t LastUse(Index& index, const BlockKey& key) {
  Index::Locked shard = index.Lock(key);
  return shard.Find(key)->last_use(Kind::kKv, 0);
}

TEST(IndexTest, TenantsWithTheSameHashAreApart) {
  Index index;
  Put(index, {1, Hash(0)}, {}, 0);
  Index::Locked shard = index.Lock({1, Hash(0)});
  EXPECT_NE(shard.Find({1, Hash(0)}), nullptr);
  EXPECT_EQ(shard.Find({2, Hash(0)}), nullptr);
}

TEST(IndexTest, UnlinkedBlockLivesUntilItsLastUser) {
  Index index;
  const BlockKey key{1, Hash(0)};
  Put(index, key, {}, 0);
  Index::Locked shard = index.Lock(key);
  Block* block = shard.Find(key);
  ++block->references;
  EXPECT_FALSE(shard.Collect(block));
  shard.Unlink(block);
  EXPECT_EQ(index.blocks(), 0);
  EXPECT_EQ(shard.Find(key), nullptr);
  EXPECT_FALSE(shard.Collect(block));
  --block->references;
  EXPECT_TRUE(shard.Collect(block));
}

TEST(IndexTest, BlockWithExtentsOrPinsIsNotCollected) {
  Index index;
  const BlockKey key{1, Hash(0)};
  Put(index, key, {}, 0);
  Index::Locked shard = index.Lock(key);
  Block* block = shard.Find(key);
  EXPECT_FALSE(shard.Collect(block));
  block->Clear(ExtentState::kDisk, Kind::kKv, 0);
  block->pins = 1;
  EXPECT_FALSE(shard.Collect(block));
  block->pins = 0;
  EXPECT_TRUE(shard.Collect(block));
}

// So many that the table's few bits of a hash often name another block first.
TEST(IndexTest, FindEachFindsWhatFindFinds) {
  Index index;
  constexpr uint32_t kBlocks = 20'000;
  for (uint32_t i = 0; i < kBlocks; i += 2) Put(index, {1, Hash(i)}, {}, 0);
  std::vector<Digest> asked;
  for (uint32_t i = 0; i < kBlocks; ++i) asked.push_back(Hash(i));
  std::vector<int> visits(kBlocks);
  index.FindEach(1, asked, [&](size_t i, const Block* block) {
    ++visits[i];
    ASSERT_EQ(block != nullptr, i % 2 == 0) << i;
    if (block != nullptr) {
      EXPECT_EQ(block->key.hash, asked[i]);
    }
  });
  EXPECT_EQ(std::count(visits.begin(), visits.end(), 1), kBlocks);
  index.FindEach(2, asked, [](size_t, const Block* block) { EXPECT_EQ(block, nullptr) << "another tenant's"; });
  index.FindEach(1, {}, [](size_t, const Block*) { FAIL() << "nothing was asked for"; });
}

TEST(IndexTest, TouchReachesAllAncestorsThatAreHere) {
  Index index;
  for (uint32_t i = 0; i < 6; ++i) {
    if (i != 1) Put(index, {1, Hash(i)}, i == 0 ? Digest{} : Hash(i - 1), i);
  }
  index.TouchAncestors(1, Hash(4), {1, 0}, 77);
  index.Settle();
  EXPECT_EQ(LastUse(index, {1, Hash(4)}), 77);
  EXPECT_EQ(LastUse(index, {1, Hash(2)}), 77);
  EXPECT_EQ(LastUse(index, {1, Hash(5)}), 0);  // it follows
  EXPECT_EQ(LastUse(index, {1, Hash(0)}), 0);  // behind a hole
}

// A client may ask for the blocks of a long chain in reverse: each step back must not walk the whole chain again.
TEST(IndexTest, TouchEndsWhereTheSameRequestHasBeen) {
  Index index;
  constexpr uint32_t kBlocks = 20'000;
  for (uint32_t i = 0; i < kBlocks; ++i) Put(index, {1, Hash(i)}, i == 0 ? Digest{} : Hash(i - 1), i);
  for (uint32_t i = kBlocks; i-- > 1;) index.TouchAncestors(1, Hash(i - 1), {1, 0}, 77);  // 200 M steps if it did
  index.Settle();
  EXPECT_EQ(LastUse(index, {1, Hash(0)}), 77);
  EXPECT_EQ(LastUse(index, {1, Hash(kBlocks - 2)}), 77);
}

// Each request has a later tick: walking for each of them would be 2 G steps.
TEST(IndexTest, ManyTouchesOfAChainCostLittleMoreThanOne) {
  Index index;
  constexpr uint32_t kBlocks = 20'000;
  for (uint32_t i = 0; i < kBlocks; ++i) Put(index, {1, Hash(i)}, i == 0 ? Digest{} : Hash(i - 1), i);
  for (uint32_t tick = 1; tick <= 100'000; ++tick) index.TouchAncestors(1, Hash(kBlocks - 2), {1, 0}, tick);
  index.Settle();
  EXPECT_EQ(LastUse(index, {1, Hash(0)}), 100'000);
  EXPECT_EQ(LastUse(index, {1, Hash(kBlocks - 2)}), 100'000);
}

TEST(IndexTest, AnEarlierTouchDoesNotTakeBackALater) {
  Index index;
  for (uint32_t i = 0; i < 4; ++i) Put(index, {1, Hash(i)}, i == 0 ? Digest{} : Hash(i - 1), i);
  index.TouchAncestors(1, Hash(1), {1, 0}, 9);
  index.TouchAncestors(1, Hash(3), {1, 0}, 8);
  index.Settle();
  EXPECT_EQ(LastUse(index, {1, Hash(0)}), 9);
  EXPECT_EQ(LastUse(index, {1, Hash(1)}), 9);
  EXPECT_EQ(LastUse(index, {1, Hash(2)}), 8);
  EXPECT_EQ(LastUse(index, {1, Hash(3)}), 8);
}

TEST(IndexTest, TouchEndsInARingOfParents) {
  Index index;
  Put(index, {1, Hash(0)}, Hash(1), 3);
  Put(index, {1, Hash(1)}, Hash(0), 3);
  index.TouchAncestors(1, Hash(0), {1, 0}, 5);
  index.Settle();
  EXPECT_EQ(LastUse(index, {1, Hash(0)}), 5);
}

TEST(IndexTest, TicksKeepUpWithTheClockAndNeverRepeat) {
  Index index;
  const uint32_t first = index.NextTick(1000);
  EXPECT_GE(first, 1000u);
  EXPECT_EQ(index.NextTick(1000), first + 1);
  EXPECT_EQ(index.NextTick(0), first + 2) << "not back";
  EXPECT_EQ(index.NextTick(500'000), 500'000u);
  // Long before they wrap they are taken back, and go on from there.
  const uint32_t late = index.NextTick(uint64_t{0xF1} << 24);
  index.Age();
  EXPECT_LT(index.CurrentTick(), late);
  const uint32_t after = index.NextTick((uint64_t{0xF1} << 24) + 5000);
  EXPECT_GT(after, index.CurrentTick() - 1);
  EXPECT_LT(after, late);
}

// What the allocator really takes, beside what memory_bytes() counts.
TEST(IndexTest, BlockTakesAtMost256BytesAnd16AnExtent) {
  constexpr uint32_t kBlocks = 100'000;
  constexpr uint32_t kLayers = 32;
  for (const bool with_e : {false, true}) {
    mallopt(M_MMAP_MAX, 0);  // counted exactly, all of it
    [[maybe_unused]] const size_t before = mallinfo2().uordblks;
    Index index;
    wire::LayerBits all{};
    all[0] = (uint64_t{1} << kLayers) - 1;
    for (uint32_t i = 0; i < kBlocks; ++i) {
      const BlockKey key{1, Hash(i)};
      Index::Locked shard = index.Lock(key);
      Block* block = shard.Insert(key, 0, {}, i, kLayers);
      block->Set(ExtentState::kHost, Kind::kKv, all);
      if (with_e) block->Set(ExtentState::kHost, Kind::kE, all);
    }
    const double extents = with_e ? 2.0 * kLayers : kLayers;
    const double counted = static_cast<double>(index.memory_bytes()) / kBlocks - extents * sizeof(Extent);
    std::cout << "a block: " << counted << " bytes counted beside its extents\n";
    EXPECT_LE(counted, 256);
#ifndef DROIDSPEAK_SANITIZED
    const double taken = static_cast<double>(mallinfo2().uordblks - before) / kBlocks - extents * sizeof(Extent);
    std::cout << "a block: " << taken << " bytes taken beside its extents\n";
    EXPECT_LE(taken, 256);
#endif
  }
}

}  // namespace
}  // namespace droidspeak
