// SPDX-License-Identifier: Apache-2.0
#include <atomic>
#include <deque>

#include "common/key/checksum.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/cacheserver/store/store_fixture.h"

namespace droidspeak::testing {
namespace {

constexpr ExtentSelector kKv0{Kind::kKv, 0};
// A block with all KV and E has 12 * (32 + 16) KiB = 576 KiB.
constexpr uint64_t kPoolBytes = 16 << 20;

StoreOptions Options(const std::string& spill = "") {
  StoreOptions options;
  options.host_pool_bytes = kPoolBytes;
  options.spill_dir = spill;
  options.spill_limit_bytes = 1 << 30;
  return options;
}

// How many leading blocks of the chain have everything, and that none after them has anything.
size_t LeadingRun(TestStore& store, const Chain& chain) {
  size_t run = 0;
  bool ended = false;
  for (const Digest& hash : chain.hashes()) {
    const wire::BlockCoverage coverage = store.Coverage(hash);
    const bool all = coverage.kv == AllLayers();
    EXPECT_FALSE(ended && all) << "a block is there behind one that is not";
    ended |= !all;
    run += all ? 1 : 0;
  }
  return run;
}

// For each kind and layer: no block may have the extent when the block before it has not.
void ExpectNoHoles(TestStore& store, const Chain& chain) {
  wire::BlockCoverage before{AllLayers(), AllLayers()};
  for (const Digest& hash : chain.hashes()) {
    const wire::BlockCoverage coverage = store.Coverage(hash);
    EXPECT_EQ(coverage.kv[0] & ~before.kv[0], 0u);
    EXPECT_EQ(coverage.e[0] & ~before.e[0], 0u);
    before = coverage;
  }
}

TEST(EvictionTest, FullPoolLosesTheColdestChainFromItsTail) {
  TestStore store(Options());
  const Chain cold(1, 8);
  const Chain hot(2, 8);
  ASSERT_TRUE(store.Fill(cold.offered, AllLayers(), {}).ok());
  ASSERT_TRUE(store.Fill(hot.offered, AllLayers(), {}).ok());
  ASSERT_EQ(LeadingRun(store, cold), 8);
  // The pool has 8 MiB for extents: 21 blocks' KV.
  ASSERT_TRUE(store.Fill(Chain(3, 8).offered, AllLayers(), {}).ok());
  EXPECT_LT(LeadingRun(store, cold), 8);
  EXPECT_GT(LeadingRun(store, cold), 0);
  EXPECT_EQ(LeadingRun(store, hot), 8);
  EXPECT_GT(store->stats().host_to_gone, 0);
  ExpectNoHoles(store, cold);
}

TEST(EvictionTest, UseMovesAChainToTheEndOfTheQueue) {
  TestStore store(Options());
  const Chain first(1, 8);
  const Chain second(2, 8);
  ASSERT_TRUE(store.Fill(first.offered, AllLayers(), {}).ok());
  ASSERT_TRUE(store.Fill(second.offered, AllLayers(), {}).ok());
  const auto kv = Selectors(AllLayers(), {});
  // Only its last block is asked for: what precedes it counts as used with it.
  EXPECT_EQ(store->Acquire(kTenant, store.space(), {&first.offered[7].hash, 1}, kv).references.size(), 1);
  ASSERT_TRUE(store.Fill(Chain(3, 8).offered, AllLayers(), {}).ok());
  EXPECT_EQ(LeadingRun(store, first), 8);
  EXPECT_LT(LeadingRun(store, second), 8);
}

TEST(EvictionTest, ColdLayerGroupsAndKindsGoAlone) {
  FakeClock clock;
  StoreOptions options = Options();
  options.clock = clock.clock();
  TestStore store(options);
  const Chain chain(1, 12);
  ASSERT_TRUE(store.FillAll(chain).ok());
  // Layers 8-11 (the second group) of KV stay in use, the rest is cold.
  const auto used = Selectors(Layers({8, 9, 10, 11}), {});
  for (int i = 0; i < 2; ++i) {
    clock.Advance(absl::Seconds(60));
    EXPECT_EQ(store->Acquire(kTenant, store.space(), chain.hashes(), used).references.size(), 12);
  }
  ASSERT_TRUE(store.Fill(Chain(2, 8).offered, AllLayers(), {}).ok());
  for (const Digest& hash : chain.hashes()) EXPECT_EQ(store.Coverage(hash).kv[0] >> 8, 0xfu);
  EXPECT_LT(LeadingRun(store, chain), 12);
  ExpectNoHoles(store, chain);
}

TEST(EvictionTest, ReferencedTailKeepsItsWholeChain) {
  TestStore store(Options());
  const Chain chain(1, 8);
  ASSERT_TRUE(store.Fill(chain.offered, AllLayers(), {}).ok());
  const Acquired held = store->Acquire(kTenant, store.space(), {&chain.offered[7].hash, 1}, {&kKv0, 1});
  for (uint64_t seed = 2; seed < 8; ++seed) ASSERT_TRUE(store.Fill(Chain(seed, 6).offered, AllLayers(), {}).ok());
  EXPECT_EQ(LeadingRun(store, chain), 8);
}

TEST(EvictionTest, PinnedBlockStaysWithWhatPrecedesIt) {
  TestStore store(Options());
  const Chain chain(1, 4);
  ASSERT_TRUE(store.Fill(chain.offered, Layers({0, 1}), {}).ok());
  const Digest& last = chain.offered[3].hash;
  EXPECT_EQ(*store->Pin(kOwner, kTenant, store.space(), {&last, 1}), 1);
  for (uint64_t seed = 2; seed < 10; ++seed) ASSERT_TRUE(store.Fill(Chain(seed, 6).offered, AllLayers(), {}).ok());
  for (const Digest& hash : chain.hashes()) EXPECT_EQ(store.Coverage(hash).kv, Layers({0, 1}));
  EXPECT_EQ(store->Unpin(kOwner, kTenant, store.space(), {&last, 1}), 1);
  for (uint64_t seed = 10; seed < 18; ++seed) ASSERT_TRUE(store.Fill(Chain(seed, 6).offered, AllLayers(), {}).ok());
  EXPECT_EQ(store.Coverage(chain.offered[0].hash).kv, wire::LayerBits{});
}

TEST(EvictionTest, PinnedBlocksMoveToDiskAndLeaveMemoryToOthers) {
  const TempFolder folder;
  TestStore store(Options(folder.path()));
  const uint64_t pool = store->stats().tiers[1].capacity_bytes;
  std::vector<Chain> chains;
  for (uint64_t pinned = 0; pinned < 2 * pool; pinned += 4 * kExtentsABlock * SmallLayout().e_bytes()) {
    chains.emplace_back(chains.size() + 1, 4);
    const absl::Status filled = store.FillAll(chains.back());
    ASSERT_TRUE(filled.ok()) << filled;
    ASSERT_EQ(*store->Pin(kOwner, kTenant, store.space(), chains.back().hashes()), 4);
  }
  for (const Chain& chain : chains) EXPECT_EQ(CountExact(store, chain), 4 * kExtentsABlock);
}

TEST(EvictionTest, PinsCountWhatIsBeingFilled) {
  TestStore store(Options());
  const Chain chain(1, 8);
  const auto offer =
      store->MakeOffer(kOwner, kTenant, store.space(), chain.offered, AllLayers(), {}, absl::Seconds(30));
  ASSERT_TRUE(offer.ok()) << offer.status();
  EXPECT_TRUE(absl::IsResourceExhausted(store->Pin(kOwner, kTenant, store.space(), chain.hashes()).status()));
}

TEST(EvictionTest, TooManyPinsAreRefusedAndChangeNothing) {
  TestStore store(Options());
  const Chain chain(1, 8);
  ASSERT_TRUE(store.Fill(chain.offered, AllLayers(), {}).ok());
  EXPECT_TRUE(absl::IsResourceExhausted(store->Pin(kOwner, kTenant, store.space(), chain.hashes()).status()));
  EXPECT_EQ(store->Unpin(kOwner, kTenant, store.space(), chain.hashes()), 0);
}

TEST(EvictionTest, PoolFullOfReferencesRefusesFills) {
  TestStore store(Options());
  std::vector<References> held;
  absl::Status filled;
  for (uint64_t seed = 1; filled.ok() && seed < 20; ++seed) {
    const Chain chain(seed, 4);
    filled = store.Fill(chain.offered, AllLayers(), {});
    held.push_back(store->Acquire(kTenant, store.space(), chain.hashes(), {&kKv0, 1}).references);
  }
  EXPECT_TRUE(absl::IsResourceExhausted(filled)) << filled;
  held.clear();
  EXPECT_TRUE(store.Fill(Chain(30, 4).offered, AllLayers(), {}).ok());
}

TEST(EvictionTest, ColdExtentsGoDownToRocksdbAndComeBack) {
  const TempFolder folder;
  TestStore store(Options(folder.path()));
  std::vector<Chain> chains;
  for (uint64_t seed = 0; seed < 6; ++seed) {
    chains.emplace_back(seed, 8);
    ASSERT_TRUE(store.FillAll(chains.back()).ok());
  }
  EXPECT_EQ(store->stats().host_to_gone, 0);
  EXPECT_GT(store->stats().host_to_rocksdb, 0);
  EXPECT_GT(store.Extents(Tier::kRocksdb), 0);
  for (const Chain& chain : chains) {
    for (const Digest& hash : chain.hashes()) {
      for (const ExtentSelector& extent : Selectors(AllLayers(), AllLayers())) {
        ASSERT_EQ(store.Read(hash, extent), ExtentBytes(hash, extent, SmallLayout().extent_bytes(extent.kind)));
      }
    }
  }
  // Promotion does not take the copy on disk away.
  EXPECT_EQ(store->stats().rocksdb_to_gone, 0);
}

TEST(EvictionTest, FetchLargerThanThePoolGoesThrough) {
  const TempFolder folder;
  TestStore store(Options(folder.path()));
  const Chain chain(1, 64);  // 24 MiB of KV
  ASSERT_TRUE(store.Fill(chain.offered, AllLayers(), {}).ok());
  const auto kv = Selectors(AllLayers(), {});
  const std::vector<Digest> hashes = chain.hashes();
  const Acquired acquired = store->Acquire(kTenant, store.space(), hashes, kv);
  ASSERT_EQ(acquired.references.size(), 64);
  // All loads at once; what arrives is given back in order, as a sender does.
  absl::Mutex mutex;
  std::deque<HostExtent> arrived;
  std::atomic<size_t> failed{0};
  size_t expected = 0;
  for (const ExtentSelector& extent : kv) {
    for (size_t i = 0; i < hashes.size(); ++i, ++expected) {
      store->Load(acquired.references, i, extent, [&](absl::StatusOr<HostExtent> loaded) {
        absl::MutexLock lock(&mutex);
        failed += loaded.ok() ? 0 : 1;
        if (loaded.ok()) arrived.push_back(*std::move(loaded));
      });
    }
  }
  size_t got = 0;
  bool staged = false;
  while (got + failed < expected) {
    std::deque<HostExtent> sent;
    absl::MutexLock lock(&mutex);
    const auto some = [&] { return !arrived.empty() || got + failed == expected; };
    ASSERT_TRUE(mutex.AwaitWithTimeout(absl::Condition(&some), absl::Seconds(60)));
    sent.swap(arrived);
    got += sent.size();
    mutex.Unlock();
    staged |= store->stats().staging_bytes > 0;
    sent.clear();
    mutex.Lock();
  }
  EXPECT_EQ(failed, 0);
  EXPECT_TRUE(staged);
  EXPECT_EQ(store->stats().staging_bytes, 0);
}

TEST(EvictionTest, SpillLimitDropsTheColdestChainsFromTheirTails) {
  const TempFolder folder;
  StoreOptions options = Options(folder.path());
  options.spill_limit_bytes = 40 << 20;
  options.room_patience = absl::Minutes(1);  // compactions take their time under sanitizers
  TestStore store(options);
  std::vector<Chain> chains;
  for (uint64_t seed = 0; seed < 16; ++seed) {
    chains.emplace_back(seed, 8);  // 4.5 MiB each
    ASSERT_TRUE(store.FillAll(chains.back()).ok());
    store->Drain();
    const StoreStats stats = store->stats();
    const auto& disk = stats.tiers[static_cast<size_t>(Tier::kRocksdb)];
    EXPECT_LE(disk.bytes[0] + disk.bytes[1], disk.capacity_bytes);
  }
  EXPECT_GT(store->stats().rocksdb_to_gone, 0);
  EXPECT_EQ(LeadingRun(store, chains.front()), 0);
  EXPECT_EQ(LeadingRun(store, chains.back()), 8);
  // Nothing was refused by the disk for want of room while it was being compacted.
  EXPECT_EQ(store->stats().host_to_gone, 0);
  for (const Chain& chain : chains) ExpectNoHoles(store, chain);
}

}  // namespace
}  // namespace droidspeak::testing
