// SPDX-License-Identifier: Apache-2.0
// Quotas of tenants: their text, and what they keep tenants from taking from each other.
#include "cacheserver/quota.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "common/key/checksum.h"
#include "tests/cacheserver/store/store_fixture.h"

namespace droidspeak::testing {
namespace {

using ::testing::HasSubstr;

TEST(QuotaTest, TextsAreRead) {
  const auto quotas = Quotas::Parse({"a host-pool=2MiB sessions=3", "*  spill=1GiB bandwidth=10MiB namespaces=5"});
  ASSERT_TRUE(quotas.ok()) << quotas.status();
  EXPECT_EQ(quotas->Of("a").host_bytes, 2u << 20);
  EXPECT_EQ(quotas->Of("a").sessions, 3u);
  EXPECT_EQ(quotas->Of("a").spill_bytes, UINT64_MAX) << "a tenant of its own takes nothing from *";
  EXPECT_EQ(quotas->Of("b").spill_bytes, 1u << 30);
  EXPECT_EQ(quotas->Of("b").bytes_per_second, 10u << 20);
  EXPECT_EQ(quotas->Of("b").namespaces, 5u);
  for (const char* wrong : {"", "a", "a host-pool", "a host-pool=0", "a host-pool=x", "a sessions=-1", "a shoes=1"}) {
    const auto refused = Quotas::Parse({wrong});
    ASSERT_FALSE(refused.ok()) << wrong;
    EXPECT_THAT(std::string(refused.status().message()), HasSubstr("--quota '" + std::string(wrong) + "'"));
  }
}

// Tenants that each fill chains of their own.
class TenantQuotaTest : public ::testing::Test {
 protected:
  void Open(const std::vector<std::string>& quotas, bool spill) {
    StoreOptions options;
    options.host_pool_bytes = 64 << 20;
    options.quotas = Quotas::Parse(quotas).value();
    if (spill) options.spill_dir = folder_.path();
    store_.reset();
    store_ = ExtentStore::Open(std::move(options)).value();
  }
  struct Tenant {
    uint32_t id;
    uint32_t space;
  };
  Tenant AddTenant(const std::string& name) {
    const uint32_t id = store_->OpenTenant(name).value();
    return {id, store_->OpenNamespace(id, Sha256Of(name), SmallLayout()).value()};
  }
  // Fills layer 0 of KV of `blocks` blocks; how many of them got memory.
  int Fill(const Tenant& tenant, const std::string& seed, int blocks, bool seal_durably = false) {
    std::vector<wire::OfferBlock> offered;
    Digest parent = Sha256Of(seed);
    for (int i = 0; i < blocks; ++i) {
      const Digest hash = HashOf(seed, i);
      offered.push_back({hash, parent, static_cast<uint32_t>(i)});
      parent = hash;
    }
    auto made = store_->MakeOffer(1, tenant.id, tenant.space, offered, {1}, {}, absl::Seconds(30));
    EXPECT_TRUE(made.ok()) << made.status();
    int filled = 0;
    for (int i = 0; i < blocks; ++i) {
      absl::Notification done;
      store_->AllocateFill(made->offer, i, {Kind::kKv, 0}, [&](absl::StatusOr<FillSlot> slot) {
        if (slot.ok()) {
          std::memset(slot->data(), i, slot->bytes());
          filled += slot->Commit(ExtentChecksum({HashOf(seed, i), Kind::kKv, 0}, {slot->data(), slot->bytes()})).ok();
        } else {
          refusal_ = slot.status();
        }
        done.Notify();
      });
      done.WaitForNotification();
    }
    absl::Notification sealed;
    store_->Seal(made->offer, seal_durably, [&](absl::Status status) {
      sealed_ = status;
      sealed.Notify();
    });
    sealed.WaitForNotification();
    return filled;
  }
  int Present(const Tenant& tenant, const std::string& seed, int blocks) {
    std::vector<Digest> hashes;
    for (int i = 0; i < blocks; ++i) hashes.push_back(HashOf(seed, i));
    std::vector<wire::BlockCoverage> coverage(hashes.size());
    store_->Coverage(tenant.id, tenant.space, hashes, absl::MakeSpan(coverage));
    return static_cast<int>(std::count_if(coverage.begin(), coverage.end(), [](const auto& one) { return one.kv[0]; }));
  }
  static Digest HashOf(const std::string& seed, int block) { return Sha256Of(seed + "/" + std::to_string(block)); }
  static uint64_t OneExtent() { return SmallLayout().kv_bytes(); }

  TempFolder folder_;
  std::unique_ptr<ExtentStore> store_;
  absl::Status refusal_;
  absl::Status sealed_;
};

TEST_F(TenantQuotaTest, OpenOffersOfOneTenantLeaveOthersTheirs) {
  StoreOptions options;
  options.host_pool_bytes = 16 << 20;
  options.max_blocks = 16 * 64;  // of which 64 may be in open offers
  store_ = ExtentStore::Open(std::move(options)).value();
  const auto offer = [&](const Tenant& tenant, int block) {
    const wire::OfferBlock offered{HashOf("block", block), {}, 0};
    return store_->MakeOffer(1, tenant.id, tenant.space, {&offered, 1}, {1}, {}, absl::Seconds(30));
  };
  const Tenant first = AddTenant("first");
  std::vector<OfferPtr> open;
  const auto offer_all = [&](const Tenant& tenant) {
    for (int block = 0; block < 64; ++block) {
      auto made = offer(tenant, block);
      if (!made.ok()) return made.status();
      open.push_back(made->offer);
    }
    return absl::OkStatus();
  };
  EXPECT_EQ(offer_all(first), absl::OkStatus()) << "alone it may have them all";
  for (const OfferPtr& one : open) store_->Seal(one, false, [](const absl::Status&) {});
  open.clear();
  const Tenant second = AddTenant("second");
  EXPECT_TRUE(absl::IsResourceExhausted(offer_all(first)));
  EXPECT_EQ(open.size(), 16);
  EXPECT_TRUE(offer(second, 100).ok());
  store_->Seal(open.back(), false, [](const absl::Status&) {});
  EXPECT_TRUE(offer(first, 101).ok());
}

TEST_F(TenantQuotaTest, ATenantBeyondItsQuotaEvictsItsOwnOnly) {
  const int most = 50;
  Open({absl::StrCat("greedy host-pool=", most * OneExtent())}, /*spill=*/false);
  const Tenant modest = AddTenant("modest");
  const Tenant greedy = AddTenant("greedy");
  EXPECT_EQ(Fill(modest, "m", 20), 20);
  for (int chain = 0; chain < 10; ++chain) EXPECT_EQ(Fill(greedy, absl::StrCat("g", chain), 20), 20);
  EXPECT_EQ(Present(modest, "m", 20), 20) << "has been used least recently, and stays";
  int kept = 0;
  for (int chain = 0; chain < 10; ++chain) kept += Present(greedy, absl::StrCat("g", chain), 20);
  EXPECT_LE(kept, most);
  EXPECT_GT(kept, most / 2);
}

TEST_F(TenantQuotaTest, WhatIsInUseIsNotEvictedForOnesOwnQuota) {
  Open({absl::StrCat("a host-pool=", 10 * OneExtent())}, /*spill=*/false);
  const Tenant a = AddTenant("a");
  EXPECT_EQ(Fill(a, "first", 10), 10);
  std::vector<Digest> hashes;
  for (int i = 0; i < 10; ++i) hashes.push_back(HashOf("first", i));
  const ExtentSelector wanted{Kind::kKv, 0};
  const Acquired held = store_->Acquire(a.id, a.space, hashes, {&wanted, 1});
  EXPECT_EQ(Fill(a, "second", 1), 0);
  EXPECT_TRUE(absl::IsResourceExhausted(refusal_));
  EXPECT_THAT(std::string(refusal_.message()), HasSubstr("tenant a has its quota of"));
  EXPECT_EQ(Fill(AddTenant("b"), "third", 5), 5) << "others have room";
}

TEST_F(TenantQuotaTest, TheDiskHasQuotasToo) {
  Open({absl::StrCat("a host-pool=", 10 * OneExtent(), " spill=", 30 * OneExtent())}, /*spill=*/true);
  const Tenant a = AddTenant("a");
  const Tenant b = AddTenant("b");
  EXPECT_EQ(Fill(b, "b", 10, /*seal_durably=*/true), 10);
  EXPECT_TRUE(sealed_.ok()) << sealed_;
  for (int chain = 0; chain < 5; ++chain) {
    EXPECT_EQ(Fill(a, absl::StrCat("a", chain), 10, /*seal_durably=*/true), 10) << chain;
    EXPECT_TRUE(sealed_.ok()) << sealed_;
  }
  EXPECT_LE(store_->stats().tiers[static_cast<size_t>(Tier::kRocksdb)].bytes[0], 40 * OneExtent());
  // After a restart the memory is empty: what is there is on disk, under the same tenants.
  ASSERT_TRUE(store_->Close().ok());
  Open({}, /*spill=*/true);
  EXPECT_EQ(Present(AddTenant("b"), "b", 10), 10);
}

TEST_F(TenantQuotaTest, NamespacesHaveAQuota) {
  Open({"a namespaces=2"}, /*spill=*/false);
  const Tenant a = AddTenant("a");
  EXPECT_TRUE(store_->OpenNamespace(a.id, Sha256Of("2"), SmallLayout()).ok());
  EXPECT_TRUE(absl::IsResourceExhausted(store_->OpenNamespace(a.id, Sha256Of("3"), SmallLayout()).status()));
  AddTenant("b");
}

}  // namespace
}  // namespace droidspeak::testing
