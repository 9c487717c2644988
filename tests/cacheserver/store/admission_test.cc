// SPDX-License-Identifier: Apache-2.0
// What scans and loops do to host memory: little to what is used again.
#include "gtest/gtest.h"
#include "tests/cacheserver/store/store_fixture.h"

namespace droidspeak::testing {
namespace {

class AdmissionTest : public ::testing::Test {
 protected:
  // The pool has 8 MiB for extents: 21 blocks' KV.
  StoreOptions Options() {
    StoreOptions options;
    options.host_pool_bytes = 16 << 20;
    options.spill_dir = folder_.path();
    options.spill_limit_bytes = 1 << 30;
    options.clock = clock_.clock();
    return options;
  }
  // Six chains of eight blocks.
  std::vector<Chain> FillMoreThanFits(TestStore& store) {
    std::vector<Chain> chains;
    for (uint64_t seed = 0; seed < 6; ++seed) {
      chains.emplace_back(seed, 8);
      EXPECT_TRUE(store.Fill(chains.back().offered, AllLayers(), {}).ok());
      clock_.Advance(absl::Seconds(5));
    }
    return chains;
  }
  // Reads all KV of a chain; the extents that were in memory.
  uint64_t ReadChain(TestStore& store, const Chain& chain) {
    const std::vector<Digest> hashes = chain.hashes();
    const auto kv = Selectors(AllLayers(), {});
    const Acquired acquired = store->Acquire(kTenant, store.space(), hashes, kv);
    EXPECT_EQ(acquired.references.size(), hashes.size());
    for (size_t block = 0; block < acquired.references.size(); ++block) {
      for (const ExtentSelector& extent : kv) EXPECT_TRUE(store.Load(acquired.references, block, extent).ok());
    }
    clock_.Advance(absl::Seconds(5));
    return acquired.tier_extents[static_cast<size_t>(Tier::kHost)];
  }

  TempFolder folder_;
  FakeClock clock_;
};

TEST_F(AdmissionTest, WhatIsUsedAgainOutlastsAScan) {
  TestStore store(Options());
  const Chain hot(1, 6);
  ASSERT_TRUE(store.Fill(hot.offered, AllLayers(), {}).ok());
  for (int i = 0; i < 4; ++i) ReadChain(store, hot);
  const uint64_t all = 6 * Selectors(AllLayers(), {}).size();
  ASSERT_EQ(ReadChain(store, hot), all);
  // Eight times the pool, each chain once, and faster than the hot one comes again.
  for (uint64_t seed = 10; seed < 38; ++seed) {
    ASSERT_TRUE(store.Fill(Chain(seed, 6).offered, AllLayers(), {}).ok());
    clock_.Advance(absl::Milliseconds(100));
  }
  EXPECT_EQ(ReadChain(store, hot), all);
}

// What a sender stores, a receiver reads at once, and mostly nobody after that.
TEST_F(AdmissionTest, WhatIsUsedAgainOutlastsWhatIsStoredAndReadOnce) {
  TestStore store(Options());
  const Chain hot(1, 6);
  ASSERT_TRUE(store.Fill(hot.offered, AllLayers(), {}).ok());
  const uint64_t all = 6 * Selectors(AllLayers(), {}).size();
  for (uint64_t round = 0; round < 16; ++round) {
    const uint64_t found = ReadChain(store, hot);
    if (round >= 10) {  // it takes some to know how often it comes, and to have it all in memory
      EXPECT_EQ(found, all) << round;
    }
    for (uint64_t part = 0; part < 3; ++part) {
      const Chain once(100 * (round + 1) + part, 6);
      ASSERT_TRUE(store.Fill(once.offered, AllLayers(), {}).ok());
      clock_.Advance(absl::Seconds(2));
      ReadChain(store, once);
    }
  }
}

TEST_F(AdmissionTest, ALoopOverMoreThanFitsFindsPartOfItInMemory) {
  TestStore store(Options());
  const std::vector<Chain> chains = FillMoreThanFits(store);
  uint64_t found = 0;
  for (int pass = 0; pass < 6; ++pass) {
    found = 0;
    for (const Chain& chain : chains) found += ReadChain(store, chain);
  }
  // 21 of 48 blocks fit. By recency alone none would be found.
  const uint64_t all = 48 * Selectors(AllLayers(), {}).size();
  EXPECT_GT(found, all / 4);
}

TEST_F(AdmissionTest, WhatIsReadMoreOftenComesUpFromDisk) {
  TestStore store(Options());
  const std::vector<Chain> chains = FillMoreThanFits(store);
  for (int pass = 0; pass < 4; ++pass) {
    for (const Chain& chain : chains) ReadChain(store, chain);
  }
  // From now on the first chain alone is wanted, and has to push out what was as good as it.
  for (int i = 0; i < 40; ++i) ReadChain(store, chains[0]);
  EXPECT_EQ(ReadChain(store, chains[0]), 8 * Selectors(AllLayers(), {}).size());
}

}  // namespace
}  // namespace droidspeak::testing
