// SPDX-License-Identifier: Apache-2.0
#include <filesystem>
#include <fstream>

#include "absl/synchronization/notification.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "rocksdb/env.h"
#include "tests/cacheserver/store/faulty_file_system.h"
#include "tests/cacheserver/store/store_fixture.h"

namespace droidspeak::testing {
namespace {

class RecoveryTest : public ::testing::Test {
 protected:
  StoreOptions Options() {
    StoreOptions options;
    options.host_pool_bytes = 16 << 20;
    options.spill_dir = folder_.path();
    options.spill_limit_bytes = 1 << 30;
    options.cluster_secret_id = Sha256Of("secret");
    return options;
  }
  const TempFolder folder_;
};

TEST_F(RecoveryTest, CleanRestartKeepsEverything) {
  TestStore store(Options());
  const Chain chain(1, 8);
  ASSERT_TRUE(store.FillAll(chain).ok());
  EXPECT_EQ(store.Extents(Tier::kRocksdb), 0);
  store.Restart();
  EXPECT_EQ(store.Extents(Tier::kRocksdb), 8 * kExtentsABlock);
  EXPECT_EQ(store.Extents(Tier::kHost), 0);
  EXPECT_EQ(CountExact(store, chain), 8 * kExtentsABlock);
}

TEST_F(RecoveryTest, DurableSealSpeaksForWhatOthersFillToo) {
  TestStore store(Options());
  const Chain chain(1, 1);
  const auto offer = [&] {
    return *store->MakeOffer(kOwner, kTenant, store.space(), chain.offered, Layers({3}), {}, absl::Seconds(30));
  };
  const auto filler = offer();
  const auto early = offer();
  const auto late = offer();
  ASSERT_EQ(early.blocks[0].busy_kv, Layers({3}));
  EXPECT_TRUE(absl::IsUnavailable(store.Seal(early.offer, /*durable=*/true)));
  absl::StatusOr<FillSlot> slot = store.Allocate(filler.offer, 0, {Kind::kKv, 3});
  ASSERT_TRUE(slot.ok());
  ASSERT_TRUE(slot->Commit(1).ok());
  EXPECT_TRUE(store.Seal(filler.offer, /*durable=*/false).ok());
  EXPECT_EQ(store.Extents(Tier::kRocksdb), 0);
  EXPECT_TRUE(store.Seal(late.offer, /*durable=*/true).ok());
  EXPECT_EQ(store.Extents(Tier::kRocksdb), 1);
}

TEST_F(RecoveryTest, AnotherClusterSecretIsRefused) {
  { TestStore store(Options()); }
  StoreOptions options = Options();
  options.cluster_secret_id = Sha256Of("another");
  const auto store = ExtentStore::Open(options);
  ASSERT_TRUE(absl::IsFailedPrecondition(store.status())) << store.status();
  EXPECT_THAT(std::string(store.status().message()), ::testing::HasSubstr("cluster secret"));
}

TEST_F(RecoveryTest, RemovedBlocksStayRemovedAfterARestart) {
  TestStore store(Options());
  const Chain chain(1, 4);
  ASSERT_TRUE(store.FillAll(chain, /*durable=*/true).ok());
  EXPECT_EQ(store->Remove(kTenant, store.space(), chain.hashes()), 4);
  store.Restart();
  EXPECT_EQ(store->stats().blocks, 0);
  EXPECT_EQ(CountExact(store, chain), 0);
}

TEST_F(RecoveryTest, RemovedAndRefilledBlockHasItsNewBytes) {
  TestStore store(Options());
  const Chain chain(1, 2);
  ASSERT_TRUE(store.FillAll(chain, true).ok());
  store->Remove(kTenant, store.space(), chain.hashes());
  ASSERT_TRUE(store.Fill(chain.offered, Layers({2}), {}, true, /*version=*/1).ok());
  store.Restart();
  constexpr ExtentSelector kKv2{Kind::kKv, 2};
  const Digest& block = chain.offered[1].hash;
  EXPECT_EQ(store.Coverage(block).kv, Layers({2}));
  EXPECT_EQ(store.Read(block, kKv2), ExtentBytes(block, kKv2, SmallLayout().kv_bytes(), 1));
}

TEST_F(RecoveryTest, PowerLossKeepsWhatWasAcknowledgedAsDurable) {
  auto system = std::make_shared<FaultyFileSystem>(folder_.path() + "/shadow");
  const std::unique_ptr<rocksdb::Env> env = rocksdb::NewCompositeEnv(system);
  const TempFolder after;
  StoreOptions options = Options();
  options.env = env.get();
  const Chain durable(1, 4);
  const Chain volatile_chain(2, 4);
  {
    TestStore store(options);
    ASSERT_TRUE(store.FillAll(volatile_chain).ok());
    ASSERT_TRUE(store.FillAll(durable, true).ok());
    system->CopySurvivors(folder_.path() + "/rocksdb", after.path() + "/rocksdb");
  }
  options.spill_dir = after.path();
  options.env = nullptr;
  TestStore store(options);
  EXPECT_EQ(CountExact(store, durable), 4 * kExtentsABlock);
  EXPECT_EQ(CountExact(store, volatile_chain), 0);
}

TEST_F(RecoveryTest, FullDiskKeepsServingFromMemoryAndSaysSo) {
  auto system = std::make_shared<FaultyFileSystem>();
  const std::unique_ptr<rocksdb::Env> env = rocksdb::NewCompositeEnv(system);
  StoreOptions options = Options();
  options.env = env.get();
  TestStore store(options);
  const Chain first(1, 4);
  ASSERT_TRUE(store.FillAll(first, true).ok());
  EXPECT_FALSE(store->degraded().has_value());
  system->disk_full = true;
  const absl::Status sealed = store.FillAll(Chain(2, 4), true);
  EXPECT_TRUE(absl::IsUnavailable(sealed)) << sealed;
  ASSERT_TRUE(store->degraded().has_value());
  EXPECT_THAT(*store->degraded(), ::testing::HasSubstr("space"));
  // Fills and reads go on in memory, with eviction.
  for (uint64_t seed = 3; seed < 9; ++seed) {
    const Chain chain(seed, 6);
    ASSERT_TRUE(store.FillAll(chain).ok());
    EXPECT_EQ(CountExact(store, chain), 6 * kExtentsABlock);
  }
  system->disk_full = false;
  // RocksDB looks for space again every five seconds, and lets nobody else resume it meanwhile.
  const absl::Time limit = absl::Now() + absl::Seconds(30);
  while (store->degraded() && absl::Now() < limit) {
    absl::Notification().WaitForNotificationWithTimeout(absl::Milliseconds(100));
    store->Drain();
  }
  EXPECT_FALSE(store->degraded().has_value());
  const Chain later(20, 4);
  EXPECT_TRUE(store.FillAll(later, true).ok());
  store.Restart();
  EXPECT_EQ(CountExact(store, first), 4 * kExtentsABlock);
  EXPECT_EQ(CountExact(store, later), 4 * kExtentsABlock);
}

TEST_F(RecoveryTest, ReadErrorsAreMissesAndDegradeTheTier) {
  auto system = std::make_shared<FaultyFileSystem>();
  const std::unique_ptr<rocksdb::Env> env = rocksdb::NewCompositeEnv(system);
  StoreOptions options = Options();
  options.env = env.get();
  TestStore store(options);
  const Chain chain(1, 4);
  ASSERT_TRUE(store.FillAll(chain, true).ok());
  store.Restart();
  system->reads_fail = true;
  const Digest& block = chain.offered[0].hash;
  EXPECT_FALSE(store.Read(block, {Kind::kKv, 0}).has_value());
  EXPECT_TRUE(store->degraded().has_value());
  system->reads_fail = false;
  store->Drain();
  EXPECT_FALSE(store->degraded().has_value());
  EXPECT_EQ(CountExact(store, chain), 4 * kExtentsABlock);
}

// A bad sector: its block would stay where it is, unreadable, as long as it is believed to be there.
TEST_F(RecoveryTest, WhatCannotBeReadForLongIsGivenUpAndMayBeFilledAgain) {
  FakeClock clock;
  auto system = std::make_shared<FaultyFileSystem>();
  const std::unique_ptr<rocksdb::Env> env = rocksdb::NewCompositeEnv(system);
  StoreOptions options = Options();
  options.env = env.get();
  options.clock = clock.clock();
  TestStore store(options);
  const Chain chain(1, 2);
  ASSERT_TRUE(store.FillAll(chain, true).ok());
  store.Restart();
  const Digest& block = chain.offered[0].hash;
  constexpr ExtentSelector kKv0{Kind::kKv, 0};
  const auto fail_to_read = [&] {
    system->reads_fail = true;
    EXPECT_FALSE(store.Read(block, kKv0).has_value());
    system->reads_fail = false;
  };
  fail_to_read();
  EXPECT_TRUE(store->degraded().has_value());
  store->Drain();
  clock.Advance(absl::Seconds(30));
  fail_to_read();
  EXPECT_FALSE(store->degraded().has_value()) << "one extent that stays unreadable must not keep others from the disk";
  EXPECT_EQ(store.Extents(Tier::kRocksdb), 2 * kExtentsABlock);
  clock.Advance(absl::Seconds(31));
  fail_to_read();
  EXPECT_EQ(store.Extents(Tier::kRocksdb), 2 * kExtentsABlock - 1);
  ASSERT_TRUE(store.FillAll(chain).ok());
  EXPECT_EQ(CountExact(store, chain), 2 * kExtentsABlock);
}

TEST_F(RecoveryTest, SlowDiskDelaysItsOwnReadersOnly) {
  auto system = std::make_shared<FaultyFileSystem>();
  const std::unique_ptr<rocksdb::Env> env = rocksdb::NewCompositeEnv(system);
  StoreOptions options = Options();
  options.env = env.get();
  TestStore store(options);
  const Chain cold(1, 2);
  ASSERT_TRUE(store.FillAll(cold, true).ok());
  store.Restart();
  system->slow_ms = 1000;
  const Digest& block = cold.offered[0].hash;
  constexpr ExtentSelector kKv0{Kind::kKv, 0};
  const Acquired acquired = store->Acquire(kTenant, store.space(), {&block, 1}, {&kKv0, 1});
  ASSERT_EQ(acquired.references.size(), 1);
  absl::Notification loaded;
  std::optional<absl::StatusOr<HostExtent>> extent;
  store->Load(acquired.references, 0, kKv0, [&](absl::StatusOr<HostExtent> result) {
    extent.emplace(std::move(result));
    loaded.Notify();
  });
  const Chain hot(2, 4);
  ASSERT_TRUE(store.FillAll(hot).ok());
  EXPECT_EQ(CountExact(store, hot), 4 * kExtentsABlock);
  EXPECT_FALSE(loaded.HasBeenNotified()) << "memory was filled and read while the disk took its time";
  loaded.WaitForNotification();
  EXPECT_TRUE(extent->ok());
  extent.reset();
  EXPECT_FALSE(store->degraded().has_value()) << "slow is not broken";
  system->slow_ms = 0;
  EXPECT_EQ(CountExact(store, cold), 2 * kExtentsABlock);
}

TEST_F(RecoveryTest, ExpiryIsKeptAcrossARestart) {
  FakeClock clock;
  StoreOptions options = Options();
  options.clock = clock.clock();
  options.default_ttl = absl::Seconds(100);
  TestStore store(options);
  const Chain chain(1, 2);
  ASSERT_TRUE(store.FillAll(chain, true).ok());
  clock.Advance(absl::Seconds(60));
  store.Restart();
  EXPECT_EQ(store->stats().blocks, 2);
  clock.Advance(absl::Seconds(41));
  store->Drain();
  EXPECT_EQ(store->stats().blocks, 0);
}

TEST_F(RecoveryTest, UnusableFolderIsNamed) {
  std::ofstream(folder_.path() + "/file") << "x";
  StoreOptions options = Options();
  options.spill_dir = folder_.path() + "/file";
  const auto store = ExtentStore::Open(options);
  ASSERT_FALSE(store.ok());
  EXPECT_THAT(std::string(store.status().message()), ::testing::HasSubstr(options.spill_dir));
}

}  // namespace
}  // namespace droidspeak::testing
