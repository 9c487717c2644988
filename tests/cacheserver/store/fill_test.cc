// SPDX-License-Identifier: Apache-2.0
#include <cstring>

#include "common/key/checksum.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/cacheserver/store/store_fixture.h"

namespace droidspeak::testing {
namespace {

constexpr ExtentSelector kKv3{Kind::kKv, 3};

StoreOptions InMemory(FakeClock& clock) {
  StoreOptions options;
  options.host_pool_bytes = 16 << 20;
  options.clock = clock.clock();
  return options;
}

class FillTest : public ::testing::Test {
 protected:
  ExtentStore::OfferResult Offer(const Chain& chain, OwnerId owner = kOwner, absl::Duration lease = absl::Seconds(10)) {
    absl::StatusOr<ExtentStore::OfferResult> made =
        store_->MakeOffer(owner, kTenant, store_.space(), chain.offered, Layers({3}), {}, lease);
    EXPECT_TRUE(made.ok()) << made.status();
    return *std::move(made);
  }
  absl::StatusOr<bool> FillOne(const OfferPtr& offer, const Digest& block, uint64_t version = 0) {
    absl::StatusOr<FillSlot> slot = store_.Allocate(offer, 0, kKv3);
    if (!slot.ok()) return slot.status();
    const std::string bytes = ExtentBytes(block, kKv3, slot->bytes(), version);
    std::memcpy(slot->data(), bytes.data(), bytes.size());
    return slot->Commit(ExtentChecksum({block, Kind::kKv, 3}, absl::Span<const std::byte>(slot->data(), bytes.size())));
  }

  FakeClock clock_;
  TestStore store_{InMemory(clock_)};
  const Chain chain_{1, 1};
  const Digest block_ = chain_.offered[0].hash;
};

TEST_F(FillTest, CommittedExtentIsReadBack) {
  const auto made = Offer(chain_);
  EXPECT_EQ(made.blocks[0].want_kv, Layers({3}));
  EXPECT_FALSE(store_.Read(block_, kKv3).has_value());
  EXPECT_TRUE(*FillOne(made.offer, block_));
  EXPECT_EQ(store_.Read(block_, kKv3), ExtentBytes(block_, kKv3, SmallLayout().kv_bytes()));
  EXPECT_EQ(store_.Coverage(block_).kv, Layers({3}));
  EXPECT_EQ(store_.Extents(Tier::kHost), 1);
}

TEST_F(FillTest, OtherTenantAndOtherNamespaceMiss) {
  ASSERT_TRUE(store_.Fill(chain_.offered, Layers({3}), {}).ok());
  EXPECT_EQ(store_->Acquire(7, store_.space(), {&block_, 1}, {&kKv3, 1}).references.size(), 0);
  const absl::StatusOr<uint32_t> other = store_->OpenNamespace(kTenant, Sha256Of("other"), SmallLayout());
  EXPECT_EQ(store_->Acquire(kTenant, *other, {&block_, 1}, {&kKv3, 1}).references.size(), 0);
  EXPECT_EQ(store_->Acquire(kTenant, store_.space(), {&block_, 1}, {&kKv3, 1}).references.size(), 1);
  // Nor can the hash be taken over from another namespace.
  EXPECT_TRUE(absl::IsInvalidArgument(
      store_->MakeOffer(kOwner, kTenant, *other, chain_.offered, Layers({3}), {}, absl::Seconds(1)).status()));
}

TEST_F(FillTest, SecondOfferIsBusyUntilTheLeaseEnds) {
  const auto first = Offer(chain_);
  EXPECT_EQ(Offer(chain_).blocks[0].busy_kv, Layers({3}));
  clock_.Advance(absl::Seconds(11));
  const auto second = Offer(chain_);
  EXPECT_EQ(second.blocks[0].want_kv, Layers({3}));
  EXPECT_TRUE(absl::IsDeadlineExceeded(FillOne(first.offer, block_).status()));
  EXPECT_TRUE(*FillOne(second.offer, block_));
}

TEST_F(FillTest, FillingRenewsTheLease) {
  const Chain two(2, 2);
  const auto made = Offer(two);
  clock_.Advance(absl::Seconds(8));
  EXPECT_TRUE(*FillOne(made.offer, two.offered[0].hash));
  clock_.Advance(absl::Seconds(8));
  EXPECT_TRUE(store_.Allocate(made.offer, 1, kKv3).ok());
}

TEST_F(FillTest, CommitAfterTheLeaseIsRefusedAndItsSlotComesBack) {
  const auto made = Offer(chain_);
  absl::StatusOr<FillSlot> slot = store_.Allocate(made.offer, 0, kKv3);
  ASSERT_TRUE(slot.ok());
  clock_.Advance(absl::Seconds(11));
  store_->Drain();
  EXPECT_TRUE(absl::IsDeadlineExceeded(slot->Commit(1).status()));
  EXPECT_FALSE(store_.Read(block_, kKv3).has_value());
  EXPECT_EQ(Offer(chain_).blocks[0].want_kv, Layers({3}));
}

TEST_F(FillTest, AbortedFillIsWantedAgain) {
  const auto made = Offer(chain_);
  {
    const absl::StatusOr<FillSlot> slot = store_.Allocate(made.offer, 0, kKv3);
    ASSERT_TRUE(slot.ok());
    EXPECT_TRUE(absl::IsFailedPrecondition(store_.Allocate(made.offer, 0, kKv3).status()));
  }
  EXPECT_TRUE(*FillOne(made.offer, block_));
  EXPECT_TRUE(absl::IsFailedPrecondition(store_.Allocate(made.offer, 0, kKv3).status()));
}

TEST_F(FillTest, StoredExtentIsHaveAndKeepsItsFirstBytes) {
  ASSERT_TRUE(store_.Fill(chain_.offered, Layers({3}), {}).ok());
  const auto again = Offer(chain_);
  EXPECT_EQ(again.blocks[0].want_kv, wire::LayerBits{});
  EXPECT_EQ(again.blocks[0].busy_kv, wire::LayerBits{});
  EXPECT_TRUE(absl::IsFailedPrecondition(FillOne(again.offer, block_, 1).status()));
  EXPECT_EQ(store_.Read(block_, kKv3), ExtentBytes(block_, kKv3, SmallLayout().kv_bytes()));
}

TEST_F(FillTest, DroppedOwnerFreesOffersAndPins) {
  ASSERT_TRUE(store_.Fill(Chain(9, 1).offered, Layers({3}), {}).ok());
  const std::vector<Digest> pinned = Chain(9, 1).hashes();
  EXPECT_EQ(*store_->Pin(5, kTenant, store_.space(), pinned), 1);
  EXPECT_EQ(*store_->Pin(5, kTenant, store_.space(), pinned), 0);
  const auto made = Offer(chain_, 5);
  store_->DropOwner(5);
  EXPECT_TRUE(absl::IsDeadlineExceeded(FillOne(made.offer, block_).status()));
  EXPECT_EQ(Offer(chain_).blocks[0].want_kv, Layers({3}));
  EXPECT_EQ(store_->Unpin(5, kTenant, store_.space(), pinned), 0);
}

TEST_F(FillTest, RemovedBlockIsAMissWhileItsReaderFinishes) {
  ASSERT_TRUE(store_.Fill(chain_.offered, Layers({3}), {}).ok());
  const Acquired held = store_->Acquire(kTenant, store_.space(), {&block_, 1}, {&kKv3, 1});
  const std::optional<HostExtent> extent = store_->ReadHost(held.references, 0, kKv3);
  ASSERT_TRUE(extent.has_value());
  EXPECT_EQ(store_->Remove(kTenant, store_.space(), {&block_, 1}), 1);
  EXPECT_FALSE(store_.Read(block_, kKv3).has_value());
  ASSERT_TRUE(store_.Fill(chain_.offered, Layers({3}), {}, false, 2).ok());
  EXPECT_EQ(std::memcmp(extent->data(), ExtentBytes(block_, kKv3, extent->bytes()).data(), extent->bytes()), 0);
  EXPECT_EQ(store_.Read(block_, kKv3), ExtentBytes(block_, kKv3, SmallLayout().kv_bytes(), 2));
}

TEST_F(FillTest, RemovalDuringAFillRefusesTheCommit) {
  const auto made = Offer(chain_);
  absl::StatusOr<FillSlot> slot = store_.Allocate(made.offer, 0, kKv3);
  ASSERT_TRUE(slot.ok());
  EXPECT_EQ(store_->Remove(kTenant, store_.space(), {&block_, 1}), 1);
  EXPECT_TRUE(absl::IsNotFound(slot->Commit(1).status()));
  EXPECT_FALSE(store_.Read(block_, kKv3).has_value());
}

TEST_F(FillTest, AcquireStopsAtTheFirstBlockThatLacksSomething) {
  const Chain chain(3, 4);
  ASSERT_TRUE(store_.Fill(chain.first(3), AllLayers(), {}).ok());
  ASSERT_TRUE(store_.Fill(chain.first(2), {}, Layers({5})).ok());
  const std::vector<Digest> hashes = chain.hashes();
  const std::vector<ExtentSelector> kv = Selectors(AllLayers(), {});
  const std::vector<ExtentSelector> both = Selectors(AllLayers(), Layers({5}));
  EXPECT_EQ(store_->Acquire(kTenant, store_.space(), hashes, kv).references.size(), 3);
  const Acquired acquired = store_->Acquire(kTenant, store_.space(), hashes, both);
  EXPECT_EQ(acquired.references.size(), 2);
  EXPECT_EQ(acquired.tier_extents[static_cast<size_t>(Tier::kHost)], 2 * 13);
  EXPECT_EQ(acquired.tier_bytes[static_cast<size_t>(Tier::kHost)],
            2 * (12 * SmallLayout().kv_bytes() + SmallLayout().e_bytes()));
}

TEST_F(FillTest, SealingFreesWhatWasNotFilledAndForgetsEmptyBlocks) {
  const auto made = Offer(chain_);
  EXPECT_EQ(store_->stats().blocks, 1);
  EXPECT_TRUE(store_.Seal(made.offer, false).ok());
  EXPECT_EQ(store_->stats().blocks, 0);
  EXPECT_TRUE(absl::IsDeadlineExceeded(store_.Seal(made.offer, false)));
}

TEST_F(FillTest, DurableSealWithoutASpillFolderIsRefused) {
  EXPECT_TRUE(absl::IsFailedPrecondition(store_.Seal(Offer(chain_).offer, true)));
}

TEST_F(FillTest, BadOffersAreRefused) {
  EXPECT_TRUE(absl::IsInvalidArgument(
      store_->MakeOffer(kOwner, kTenant, 99, chain_.offered, Layers({0}), {}, absl::Seconds(1)).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(
      store_->MakeOffer(kOwner, kTenant, store_.space(), chain_.offered, Layers({12}), {}, absl::Seconds(1)).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(
      store_->MakeOffer(kOwner, kTenant + 1, store_.space(), chain_.offered, Layers({0}), {}, absl::Seconds(1))
          .status()));
}

TEST_F(FillTest, ParentsThatFormARingDoNotHangTheStore) {
  std::vector<wire::OfferBlock> ring = Chain(4, 2).offered;
  ring[0].parent = ring[1].hash;
  ring[0].position = ring[1].position = 5;
  ASSERT_TRUE(store_.Fill(ring, Layers({3}), {}).ok());
  EXPECT_TRUE(store_.Read(ring[1].hash, kKv3).has_value());
}

TEST_F(FillTest, NamespaceWithAnotherLayoutOrTooLargeExtentsIsRefused) {
  Layout layout = SmallLayout();
  layout.layers = 13;
  EXPECT_TRUE(absl::IsInvalidArgument(store_->OpenNamespace(kTenant, Sha256Of("namespace"), layout).status()));
  layout.block_tokens = 4096;
  layout.kv_heads = 64;
  EXPECT_TRUE(absl::IsInvalidArgument(store_->OpenNamespace(kTenant, Sha256Of("large"), layout).status()));
}

TEST(TtlTest, BlocksExpireByTheSteadyClockOnly) {
  FakeClock clock;
  StoreOptions options = InMemory(clock);
  options.default_ttl = absl::Seconds(100);
  TestStore store(options);
  const Chain chain(1, 2);
  ASSERT_TRUE(store.FillAll(chain).ok());
  clock.JumpWall(absl::Hours(24));
  store->Drain();
  EXPECT_EQ(store->stats().blocks, 2);
  clock.Advance(absl::Seconds(101));
  EXPECT_FALSE(store.Read(chain.offered[0].hash, kKv3).has_value());
  store->Drain();
  EXPECT_EQ(store->stats().blocks, 0);
  EXPECT_EQ(store->stats().expired, 2);
  EXPECT_EQ(store.Extents(Tier::kHost), 0);
}

}  // namespace
}  // namespace droidspeak::testing
