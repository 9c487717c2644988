// SPDX-License-Identifier: Apache-2.0
// What operators see and do: the census, pins that last, removal of whole namespaces.
#include <memory>
#include <set>

#include "absl/synchronization/notification.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "rocksdb/env.h"
#include "tests/cacheserver/store/faulty_file_system.h"
#include "tests/cacheserver/store/store_fixture.h"

namespace droidspeak::testing {
namespace {

// A block with KV of layers 0 and 1 has 64 KiB.
const wire::LayerBits kTwoLayers = Layers({0, 1});

class OperatorTest : public ::testing::Test {
 protected:
  StoreOptions Options() {
    StoreOptions options;
    options.host_pool_bytes = 16 << 20;
    options.spill_dir = folder_.path();
    options.spill_limit_bytes = 64 << 20;
    options.cluster_secret_id = Sha256Of("secret");
    options.clock = clock_.clock();
    return options;
  }
  static absl::Status Sync(TestStore& store) {
    absl::Notification done;
    absl::Status status;
    store->Sync([&](absl::Status synced) {
      status = std::move(synced);
      done.Notify();
    });
    done.WaitForNotification();
    return status;
  }
  static NamespaceInfo Space(TestStore& store) {
    for (NamespaceInfo& space : store->Namespaces()) {
      if (space.id == store.space()) return space;
    }
    ADD_FAILURE() << "the namespace is not in the census";
    return {};
  }
  static NamespaceUse Use(TestStore& store) { return store->CountNamespaces()[store.space()]; }
  static absl::StatusOr<uint32_t> Pin(TestStore& store, const std::vector<Digest>& blocks) {
    return store->Pin(kOperator, kTenant, store.space(), blocks);
  }

  const TempFolder folder_;
  FakeClock clock_;
};

TEST_F(OperatorTest, CensusCountsBlocksAndBytesByTier) {
  TestStore store(Options());
  const Chain durable(1, 3);
  const Chain volatile_chain(2, 2);
  ASSERT_TRUE(store.Fill(durable.offered, kTwoLayers, {}, true).ok());
  ASSERT_TRUE(store.Fill(volatile_chain.offered, {}, Layers({5}), false).ok());
  const NamespaceUse use = Use(store);
  const Layout layout = SmallLayout();
  EXPECT_EQ(use.blocks, 5);
  EXPECT_EQ(use.pinned_blocks, 0);
  EXPECT_EQ(use.bytes[static_cast<size_t>(Tier::kHost)], 6 * layout.kv_bytes() + 2 * layout.e_bytes());
  EXPECT_EQ(use.bytes[static_cast<size_t>(Tier::kRocksdb)], 6 * layout.kv_bytes());
  const std::vector<TenantInfo> tenants = store->Tenants();
  ASSERT_EQ(tenants.size(), 1);
  EXPECT_EQ(tenants[0].name, "tenant");
  EXPECT_EQ(tenants[0].bytes[static_cast<size_t>(Tier::kHost)], use.bytes[static_cast<size_t>(Tier::kHost)]);
  EXPECT_EQ(tenants[0].bytes[static_cast<size_t>(Tier::kRocksdb)], 6 * (layout.kv_bytes() + 256)) << "with their rows";
}

TEST_F(OperatorTest, PagesOfAListHaveEveryBlockOnce) {
  TestStore store(Options());
  const Chain chain(1, 100);
  ASSERT_TRUE(store.Fill(chain.offered, Layers({0}), {}).ok());
  const NamespaceInfo space = Space(store);
  std::set<Digest> seen;
  std::optional<Digest> after;
  size_t pages = 0;
  while (true) {
    const std::vector<BlockInfo> page = store->ListBlocks(space, after, 7);
    for (const BlockInfo& block : page) EXPECT_TRUE(seen.insert(block.hash).second) << block.hash.Hex();
    if (page.size() < 7) break;
    after = page.back().hash;
    ASSERT_LT(++pages, 100);
  }
  const std::vector<Digest> hashes = chain.hashes();
  EXPECT_EQ(seen, std::set<Digest>(hashes.begin(), hashes.end()));
  NamespaceInfo other = space;
  other.id = 77;
  EXPECT_TRUE(store->ListBlocks(other, std::nullopt, 1000).empty());
}

TEST_F(OperatorTest, FoundBlockSaysWhatItHasAndWhenItWasUsed) {
  TestStore store(Options());
  const Chain chain(1, 2);
  ASSERT_TRUE(store.Fill(chain.offered, kTwoLayers, Layers({3}), true).ok());
  clock_.Advance(absl::Seconds(30));
  const auto block = store->FindBlock(Space(store), chain.offered[1].hash);
  ASSERT_TRUE(block.has_value());
  EXPECT_EQ(block->parent, chain.offered[0].hash);
  EXPECT_EQ(block->position, 1);
  EXPECT_EQ(block->on_host, (std::array<wire::LayerBits, 2>{kTwoLayers, Layers({3})}));
  EXPECT_EQ(block->on_disk, block->on_host);
  ASSERT_TRUE(block->idle_ms.has_value());
  EXPECT_NEAR(*block->idle_ms, 30'000, 1000);
  EXPECT_FALSE(store->FindBlock(Space(store), Sha256Of("unknown")).has_value());
}

TEST_F(OperatorTest, PinsSurviveARestartAndEviction) {
  TestStore store(Options());
  const Chain chain(1, 4);
  ASSERT_TRUE(store.Fill(chain.offered, kTwoLayers, {}).ok());
  ASSERT_EQ(*Pin(store, chain.hashes()), 4);
  EXPECT_EQ(*Pin(store, chain.hashes()), 0) << "they are pinned already";
  ASSERT_TRUE(Sync(store).ok());
  store.Restart();
  EXPECT_EQ(Use(store).pinned_blocks, 4);
  EXPECT_TRUE(store->FindBlock(Space(store), chain.offered[3].hash)->operator_pin);
  // More than both tiers can hold.
  for (uint64_t seed = 2; seed < 16; ++seed) ASSERT_TRUE(store.FillAll(Chain(seed, 12)).ok());
  for (const Digest& hash : chain.hashes()) EXPECT_EQ(store.Coverage(hash).kv, kTwoLayers);
  EXPECT_GT(store->stats().rocksdb_to_gone, 0);
  EXPECT_EQ(store->Unpin(kOperator, kTenant, store.space(), chain.hashes()), 4);
  ASSERT_TRUE(Sync(store).ok());
  store.Restart();
  EXPECT_EQ(Use(store).pinned_blocks, 0);
}

TEST_F(OperatorTest, SyncedPinsAndRemovalsSurvivePowerLoss) {
  auto system = std::make_shared<FaultyFileSystem>();
  const std::unique_ptr<rocksdb::Env> env = rocksdb::NewCompositeEnv(system);
  const TempFolder after;
  StoreOptions options = Options();
  options.env = env.get();
  const Chain pinned(1, 3);
  const Chain removed(2, 3);
  {
    TestStore store(options);
    ASSERT_TRUE(store.Fill(pinned.offered, kTwoLayers, {}, true).ok());
    ASSERT_TRUE(store.Fill(removed.offered, kTwoLayers, {}, true).ok());
    ASSERT_EQ(*Pin(store, pinned.hashes()), 3);
    EXPECT_EQ(store->Remove(kTenant, store.space(), removed.hashes()), 3);
    ASSERT_TRUE(Sync(store).ok());
    system->CopySurvivors(folder_.path() + "/rocksdb", after.path() + "/rocksdb");
  }
  options.spill_dir = after.path();
  options.env = nullptr;
  TestStore store(options);
  EXPECT_EQ(Use(store).blocks, 3);
  EXPECT_EQ(Use(store).pinned_blocks, 3);
}

TEST_F(OperatorTest, PinOfARemovedBlockIsNotForWhatIsStoredAnew) {
  TestStore store(Options());
  const Chain chain(1, 2);
  ASSERT_TRUE(store.Fill(chain.offered, kTwoLayers, {}, true).ok());
  ASSERT_EQ(*Pin(store, chain.hashes()), 2);
  ASSERT_TRUE(Sync(store).ok());
  EXPECT_EQ(store->Remove(kTenant, store.space(), {&chain.offered[1].hash, 1}), 1);
  ASSERT_TRUE(store.Fill(chain.offered, kTwoLayers, {}, true).ok());
  store.Restart();
  EXPECT_TRUE(store->FindBlock(Space(store), chain.offered[0].hash)->operator_pin);
  EXPECT_FALSE(store->FindBlock(Space(store), chain.offered[1].hash)->operator_pin);
}

TEST_F(OperatorTest, PinnedBlockOutlivesItsExpiryUntilItIsUnpinned) {
  StoreOptions options = Options();
  options.default_ttl = absl::Seconds(100);
  TestStore store(options);
  const Chain chain(1, 2);
  ASSERT_TRUE(store.Fill(chain.offered, kTwoLayers, {}, true).ok());
  ASSERT_EQ(*Pin(store, {chain.offered[0].hash}), 1);
  clock_.Advance(absl::Seconds(101));
  store->Drain();
  EXPECT_EQ(Use(store).blocks, 1);
  store.Restart();
  store->Drain();
  EXPECT_EQ(Use(store).blocks, 1);
  EXPECT_EQ(store->Unpin(kOperator, kTenant, store.space(), chain.hashes()), 1);
  store->Drain();
  EXPECT_EQ(Use(store).blocks, 0);
}

TEST_F(OperatorTest, TenantMayPinATenthOfItsQuotas) {
  StoreOptions options = Options();
  options.quotas = *Quotas::Parse({"tenant host-pool=4MiB spill=6MiB"});  // 1 MiB of pins: 16 blocks
  TestStore store(options);
  const Chain chain(1, 17);
  ASSERT_TRUE(store.Fill(chain.offered, kTwoLayers, {}).ok());
  const absl::Status refused = Pin(store, chain.hashes()).status();
  EXPECT_TRUE(absl::IsResourceExhausted(refused)) << refused;
  EXPECT_THAT(std::string(refused.message()), ::testing::HasSubstr("tenant"));
  EXPECT_TRUE(absl::IsResourceExhausted(store->PinAll(kOperator, Space(store)).status()));
  EXPECT_EQ(Use(store).pinned_blocks, 0);
  std::vector<Digest> fewer = chain.hashes();
  fewer.pop_back();
  EXPECT_EQ(*Pin(store, fewer), 16);
  EXPECT_EQ(store->UnpinAll(kOperator, Space(store)), 16);
  EXPECT_EQ(Use(store).pinned_blocks, 0);
}

TEST_F(OperatorTest, RemovalOfANamespaceTakesPinnedBlocksToo) {
  TestStore store(Options());
  ASSERT_TRUE(store.Fill(Chain(1, 40).offered, Layers({0}), {}, true).ok());
  ASSERT_TRUE(store.Fill(Chain(2, 10).offered, Layers({0}), {}, false).ok());
  EXPECT_EQ(*store->PinAll(kOperator, Space(store)), 50);
  EXPECT_EQ(store->RemoveAll(Space(store)), 50);
  ASSERT_TRUE(Sync(store).ok());
  EXPECT_EQ(store->stats().blocks, 0);
  store.Restart();
  EXPECT_EQ(store->stats().blocks, 0);
  // Nothing is counted as pinned any more: as much can be pinned again.
  ASSERT_TRUE(store.Fill(Chain(1, 40).offered, Layers({0}), {}).ok());
  EXPECT_EQ(*store->PinAll(kOperator, Space(store)), 40);
}

}  // namespace
}  // namespace droidspeak::testing
