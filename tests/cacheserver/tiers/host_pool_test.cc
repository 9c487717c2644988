// SPDX-License-Identifier: Apache-2.0
#include "cacheserver/tiers/host_pool.h"

#include <vector>

#include "gtest/gtest.h"

namespace droidspeak {
namespace {

std::unique_ptr<HostPool> NewPool(uint64_t bytes) {
  absl::StatusOr<std::unique_ptr<HostPool>> pool = HostPool::Create(bytes);
  EXPECT_TRUE(pool.ok()) << pool.status();
  return *std::move(pool);
}

TEST(HostPoolTest, SlotsAndStagingLieApartInTheArena) {
  const auto pool = NewPool(32 << 20);
  const std::byte* base = pool->arena().base();
  const std::byte* end = base + pool->arena().bytes();
  const uint64_t slots_bytes = pool->slots().stats().capacity_bytes;
  EXPECT_EQ(slots_bytes, 16u << 20);
  std::byte* slot = pool->slots().Allocate(1 << 20);
  pool->staging().Take(1 << 20, [&](std::byte* buffer) {
    EXPECT_GE(buffer, base + slots_bytes);
    EXPECT_LE(buffer + (1 << 20), end);
    pool->staging().Give(buffer);
  });
  EXPECT_LT(slot, base + slots_bytes);
  pool->slots().Free(slot);
}

TEST(HostPoolTest, TooSmallPoolIsRefused) {
  EXPECT_TRUE(absl::IsInvalidArgument(HostPool::Create(4096).status()));
}

TEST(StagingPoolTest, WhoFindsNoBufferGetsTheNextInOrder) {
  const auto pool = NewPool(8 << 20);
  StagingPool& staging = pool->staging();
  std::vector<std::byte*> held;
  std::vector<int> served;
  while (staging.used_bytes() + (1 << 20) <= 4u << 20) {
    staging.Take(1 << 20, [&](std::byte* buffer) { held.push_back(buffer); });
  }
  for (int i = 0; i < 3; ++i) {
    staging.Take(1 << 20, [&, i](std::byte* buffer) {
      served.push_back(i);
      held.push_back(buffer);
    });
  }
  EXPECT_TRUE(served.empty());
  staging.Give(held[0]);
  EXPECT_EQ(served, std::vector<int>{0});
  staging.Give(held[1]);
  EXPECT_EQ(served, (std::vector<int>{0, 1}));
  staging.Close();
  EXPECT_EQ(served, (std::vector<int>{0, 1, 2}));
  EXPECT_EQ(held.back(), nullptr);
  bool turned_away = false;
  staging.Take(1, [&](std::byte* buffer) { turned_away = buffer == nullptr; });
  EXPECT_TRUE(turned_away);
}

}  // namespace
}  // namespace droidspeak
