// SPDX-License-Identifier: Apache-2.0
#include "engine/scheduler/prefix_cache.h"

#include <limits>
#include <memory>
#include <numeric>
#include <vector>

#include "gtest/gtest.h"

namespace droidspeak {
namespace {

std::vector<int32_t> Tokens(int32_t first, int64_t count) {
  std::vector<int32_t> tokens(count);
  std::iota(tokens.begin(), tokens.end(), first);
  return tokens;
}

class PrefixCacheTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ModelConfig config;
    config.layers = 2;
    config.kv_heads = 1;
    config.head_dim = 8;
    slab_ = KvSlab::Create(config, Dtype::kFloat32, 100, std::numeric_limits<int64_t>::max()).value();
    cache_ = std::make_unique<PrefixCache>(*slab_);
  }
  SlotRun Allocate(int64_t count) { return slab_->Allocate(count).value(); }

  std::unique_ptr<KvSlab> slab_;
  std::unique_ptr<PrefixCache> cache_;
};

TEST_F(PrefixCacheTest, TheLongestCommonBeginningIsFound) {
  cache_->Keep(Allocate(20), Tokens(0, 20), {});
  std::vector<int32_t> other = Tokens(0, 10);
  other.push_back(99);
  const SlotRun run = Allocate(11);
  cache_->Keep(run, other, {});
  EXPECT_EQ(cache_->Find(Tokens(0, 15), {}).rows, 15);
  std::vector<int32_t> wanted = other;
  wanted.push_back(5);
  const PrefixCache::Found found = cache_->Find(wanted, {});
  EXPECT_EQ(found.rows, 11);
  EXPECT_EQ(found.first_slot, run.first);
  EXPECT_EQ(cache_->Find(Tokens(1, 10), {}).rows, 0);
  EXPECT_EQ(cache_->Find(Tokens(0, 15), {.regime = Regime::kLong}).rows, 0);
}

TEST_F(PrefixCacheTest, SlotsBeyondTheRowsAndOfWhatIsContainedGoBack) {
  cache_->Keep(Allocate(50), Tokens(0, 20), {});
  EXPECT_EQ(slab_->used_slots(), 20);
  cache_->Keep(Allocate(10), Tokens(0, 10), {});  // nothing new
  EXPECT_EQ(slab_->used_slots(), 20);
  cache_->Keep(Allocate(30), Tokens(0, 30), {});  // more than the first
  EXPECT_EQ(slab_->used_slots(), 30);
  EXPECT_EQ(cache_->slots(), 30);
}

TEST_F(PrefixCacheTest, WhatWasNotUsedForLongestGoesFirst) {
  cache_->Keep(Allocate(10), Tokens(0, 10), {});
  cache_->Keep(Allocate(10), Tokens(100, 10), {});
  EXPECT_EQ(cache_->Find(Tokens(0, 10), {}).rows, 10);  // used
  ASSERT_TRUE(cache_->EvictOne());
  EXPECT_EQ(cache_->Find(Tokens(100, 10), {}).rows, 0);
  EXPECT_EQ(cache_->Find(Tokens(0, 10), {}).rows, 10);
  ASSERT_TRUE(cache_->EvictOne());
  EXPECT_FALSE(cache_->EvictOne());
  EXPECT_EQ(slab_->used_slots(), 0);
}

}  // namespace
}  // namespace droidspeak
