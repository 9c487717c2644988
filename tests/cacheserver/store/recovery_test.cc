// SPDX-License-Identifier: Apache-2.0
#include <filesystem>
#include <fstream>
#include <random>

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
  // How many extents of the chain come back with their bytes; anything else is a failure.
  size_t CountExact(TestStore& store, const Chain& chain) {
    size_t exact = 0;
    for (const Digest& hash : chain.hashes()) {
      for (const ExtentSelector& extent : Selectors(AllLayers(), AllLayers())) {
        const std::optional<std::string> bytes = store.Read(hash, extent);
        if (!bytes) continue;
        EXPECT_EQ(*bytes, ExtentBytes(hash, extent, SmallLayout().extent_bytes(extent.kind)));
        ++exact;
      }
    }
    return exact;
  }

  const TempFolder folder_;
};

constexpr size_t kExtentsABlock = 24;

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
  auto system = std::make_shared<FaultyFileSystem>();
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

TEST_F(RecoveryTest, FlippedBytesInBlobFilesBecomeCountedMisses) {
  constexpr size_t kFlips = 100;
  auto store = std::make_unique<TestStore>(Options());
  const Chain chain(1, 24);
  ASSERT_TRUE(store->FillAll(chain, true).ok());
  store.reset();
  std::mt19937_64 random(7);
  std::vector<std::filesystem::path> blobs;
  for (const auto& entry : std::filesystem::directory_iterator(folder_.path() + "/rocksdb")) {
    if (entry.path().extension() == ".blob") blobs.push_back(entry.path());
  }
  ASSERT_FALSE(blobs.empty());
  for (size_t i = 0; i < kFlips; ++i) {
    const auto& path = blobs[random() % blobs.size()];
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    // Not in the file's own header and footer of 30 and 32 bytes.
    const auto at = static_cast<std::streamoff>(64 + random() % (std::filesystem::file_size(path) - 128));
    file.seekg(at);
    const int byte = file.get();
    file.seekp(at);
    file.put(static_cast<char>(byte ^ (1 << (random() % 8))));
  }
  store = std::make_unique<TestStore>(Options());
  const size_t exact = CountExact(*store, chain);
  const size_t lost = 24 * kExtentsABlock - exact;
  EXPECT_GT(lost, kFlips / 2);
  EXPECT_LE(lost, kFlips);
  EXPECT_EQ((*store)->stats().checksum_errors, lost);
  // What was found corrupt is gone for good, and can be stored again.
  EXPECT_EQ(CountExact(*store, chain), exact);
  ASSERT_TRUE(store->FillAll(chain).ok());
  EXPECT_EQ(CountExact(*store, chain), 24 * kExtentsABlock);
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
