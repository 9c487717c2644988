// SPDX-License-Identifier: Apache-2.0
#include "common/memory/slab_pool.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <set>
#include <thread>
#include <vector>

#include "gtest/gtest.h"

namespace droidspeak {
namespace {

constexpr uint64_t kMiB = 1 << 20;

// A pool on reserved address space: it never touches the memory itself.
class SlabPoolTest : public ::testing::Test {
 protected:
  ~SlabPoolTest() override {
    if (base_ != nullptr) munmap(base_, bytes_);
  }

  SlabPool& Make(uint64_t bytes) {
    bytes_ = bytes;
    base_ = static_cast<std::byte*>(
        mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    pool_ = std::make_unique<SlabPool>(base_, bytes);
    return *pool_;
  }

  std::vector<std::byte*> AllocateAll(uint64_t bytes) {
    std::vector<std::byte*> slots;
    while (std::byte* slot = pool_->Allocate(bytes)) slots.push_back(slot);
    return slots;
  }

  void FreeAll(const std::vector<std::byte*>& slots) {
    for (std::byte* slot : slots) pool_->Free(slot);
  }

  uint64_t bytes_ = 0;
  std::byte* base_ = nullptr;
  std::unique_ptr<SlabPool> pool_;
};

TEST_F(SlabPoolTest, SlotsAreAlignedInsideTheArenaAndDisjoint) {
  Make(64 * kMiB);
  const uint64_t size = 100 * 1000;
  std::vector<std::byte*> slots = AllocateAll(size);
  std::sort(slots.begin(), slots.end());
  for (size_t i = 0; i < slots.size(); ++i) {
    EXPECT_EQ(reinterpret_cast<uintptr_t>(slots[i]) % SlabPool::kSlotAlignment, 0);
    if (i > 0) {
      EXPECT_GE(slots[i] - slots[i - 1], SlabPool::SlotBytes(size));
    }
  }
  EXPECT_GE(slots.front(), base_);
  EXPECT_LE(slots.back() + size, base_ + bytes_);
}

TEST_F(SlabPoolTest, LessThanThreePerCentIsLostAtAnySize) {
  Make(2048 * kMiB);
  for (const uint64_t size : {64 * 1024UL, 68 * 1024UL, 100 * 1024UL, 384 * 1024UL, kMiB, kMiB + 4096, 5 * kMiB}) {
    const std::vector<std::byte*> slots = AllocateAll(size);
    EXPECT_GE(static_cast<double>(slots.size() * size), 0.97 * static_cast<double>(bytes_)) << size;
    EXPECT_EQ(pool_->stats().used_bytes, slots.size() * size);
    FreeAll(slots);
    EXPECT_EQ(pool_->stats().slabs, 0);
  }
}

TEST_F(SlabPoolTest, AFullPoolGivesNothingUntilASlotIsFreed) {
  SlabPool& pool = Make(16 * kMiB);
  const std::vector<std::byte*> slots = AllocateAll(kMiB);
  EXPECT_EQ(slots.size(), 16);
  EXPECT_FALSE(pool.CanAllocate(kMiB));
  pool.Free(slots[7]);
  EXPECT_TRUE(pool.CanAllocate(kMiB));
  EXPECT_EQ(pool.Allocate(kMiB), slots[7]);
}

TEST_F(SlabPoolTest, EmptySlabsServeOtherSizes) {
  SlabPool& pool = Make(16 * kMiB);
  const std::vector<std::byte*> small = AllocateAll(256 * 1024);
  EXPECT_EQ(pool.Allocate(2 * kMiB), nullptr);
  FreeAll(small);
  const std::vector<std::byte*> large = AllocateAll(16 * kMiB);
  EXPECT_EQ(large.size(), 1) << "neighbouring runs have grown together";
}

TEST_F(SlabPoolTest, APoolSmallerThanASlabStillServesTwoSizes) {
  SlabPool& pool = Make(3 * kMiB);
  EXPECT_NE(pool.Allocate(kMiB), nullptr);
  EXPECT_NE(pool.Allocate(kMiB), nullptr);
  EXPECT_NE(pool.Allocate(kMiB), nullptr);
  EXPECT_EQ(pool.Allocate(4096), nullptr);
  EXPECT_EQ(pool.stats().used_bytes, 3 * kMiB);
}

TEST_F(SlabPoolTest, AnArenaWithoutOneUnitGivesNothing) {
  EXPECT_EQ(Make(4096).Allocate(1), nullptr);
  EXPECT_EQ(pool_->stats().capacity_bytes, 0);
}

TEST_F(SlabPoolTest, WrongFreesAbort) {
  SlabPool& pool = Make(16 * kMiB);
  std::byte* slot = pool.Allocate(8192);
  std::byte* other = pool.Allocate(8192);
  pool.Free(slot);
  EXPECT_DEATH(pool.Free(slot), "invariant broken");
  EXPECT_DEATH(pool.Free(other + 4096), "invariant broken");
  EXPECT_DEATH(pool.Free(base_ + bytes_), "invariant broken");
}

TEST_F(SlabPoolTest, RandomOperationsKeepSlotsDisjointAndCountsRight) {
  SlabPool& pool = Make(96 * kMiB);
  std::mt19937 random(3);
  const std::vector<uint64_t> sizes = {5000, 64 * 1024, 300 * 1024, kMiB, 3 * kMiB + 1};
  std::set<std::pair<std::byte*, uint64_t>> live;
  uint64_t used = 0;
  for (int step = 0; step < 20000; ++step) {
    const uint64_t size = SlabPool::SlotBytes(sizes[random() % sizes.size()]);
    std::byte* slot = random() % 2 == 0 || live.empty() ? pool.Allocate(size) : nullptr;
    if (slot != nullptr) {
      const auto next = live.lower_bound({slot, 0});
      ASSERT_TRUE(next == live.end() || slot + size <= next->first);
      ASSERT_TRUE(next == live.begin() || std::prev(next)->first + std::prev(next)->second <= slot);
      live.insert({slot, size});
      used += size;
    } else if (!live.empty()) {
      auto victim = live.lower_bound({base_ + random() % bytes_, 0});
      if (victim == live.end()) victim = live.begin();
      pool.Free(victim->first);
      used -= victim->second;
      live.erase(victim);
    }
    ASSERT_EQ(pool.stats().used_bytes, used);
    ASSERT_EQ(pool.stats().slots, live.size());
  }
  for (const auto& [slot, size] : live) pool.Free(slot);
  EXPECT_EQ(pool.stats().slab_bytes, 0);
  EXPECT_NE(pool.Allocate(96 * kMiB), nullptr);
}

TEST_F(SlabPoolTest, ThreadsNeverShareASlot) {
  SlabPool& pool = Make(32 * kMiB);
  std::vector<std::thread> threads;
  for (int id = 1; id <= 4; ++id) {
    threads.emplace_back([&pool, id] {
      std::mt19937 random(static_cast<unsigned>(id));
      std::vector<std::pair<std::byte*, uint64_t>> mine;
      for (int step = 0; step < 3000; ++step) {
        const uint64_t size = (1 + random() % 3) * 128 * 1024;
        if (std::byte* slot = random() % 8 < 5 ? pool.Allocate(size) : nullptr) {
          std::memset(slot, id, 64);
          mine.emplace_back(slot, size);
        } else if (!mine.empty()) {
          std::swap(mine[random() % mine.size()], mine.back());
          for (int i = 0; i < 64; ++i) ASSERT_EQ(mine.back().first[i], static_cast<std::byte>(id));
          pool.Free(mine.back().first);
          mine.pop_back();
        }
      }
      for (const auto& [slot, size] : mine) pool.Free(slot);
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(pool.stats().slots, 0);
  EXPECT_EQ(pool.stats().slabs, 0);
}

}  // namespace
}  // namespace droidspeak
