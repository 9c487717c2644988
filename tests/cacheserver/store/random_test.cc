// SPDX-License-Identifier: Apache-2.0
// Random operations against a model in memory. DROIDSPEAK_STORE_OPS and DROIDSPEAK_STORE_SEED set length and seed.
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <map>
#include <random>
#include <set>
#include <string>

#include "common/key/checksum.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/cacheserver/store/store_fixture.h"

namespace droidspeak::testing {
namespace {

uint64_t FromEnvironment(const char* name, uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

// What may be read of an extent: the version of its one successful fill. Eviction may take it at any time, so a miss is
// always allowed, unless the block is pinned.
class Model {
 public:
  void Filled(const Digest& block, ExtentSelector extent, uint64_t version) {
    versions_[block].emplace(Key(extent), version);
  }
  void Gone(const Digest& block, ExtentSelector extent) { versions_[block].erase(Key(extent)); }
  void Removed(const Digest& block) { versions_.erase(block); }
  std::optional<uint64_t> Version(const Digest& block, ExtentSelector extent) const {
    const auto found = versions_.find(block);
    if (found == versions_.end()) return std::nullopt;
    const auto version = found->second.find(Key(extent));
    return version == found->second.end() ? std::nullopt : std::optional(version->second);
  }
  void Clear() { versions_.clear(); }

 private:
  static int Key(ExtentSelector extent) { return static_cast<int>(extent.kind) * 256 + extent.layer; }
  std::map<Digest, std::map<int, uint64_t>> versions_;
};

class RandomTest : public ::testing::Test {
 protected:
  static constexpr size_t kChains = 10;
  static constexpr size_t kBlocks = 12;

  RandomTest() : random_(seed_) {
    for (uint64_t i = 0; i < kChains; ++i) chains_.emplace_back(i, kBlocks);
    StoreOptions options;
    options.host_pool_bytes = 8 << 20;
    options.spill_dir = folder_.path();
    options.spill_limit_bytes = 48 << 20;
    options.default_ttl = absl::Seconds(3000);
    options.clock = clock_.clock();
    store_ = std::make_unique<TestStore>(options);
  }

  size_t Pick(size_t limit) { return random_() % limit; }
  const Chain& PickChain() { return chains_[Pick(kChains)]; }
  ExtentSelector PickExtent() { return {Pick(3) == 0 ? Kind::kE : Kind::kKv, static_cast<uint16_t>(Pick(12))}; }
  wire::LayerBits PickLayers() { return {random_() & AllLayers()[0]}; }

  void Store();
  void Fetch();
  void Check(const References& references, size_t i, const Digest& block, ExtentSelector extent);
  void PinOrUnpin();
  void CheckCoverage(const Digest& block);
  void Remove();
  void Advance();
  void Restart();

  const uint64_t seed_ = FromEnvironment("DROIDSPEAK_STORE_SEED", 1);
  std::mt19937_64 random_;
  const TempFolder folder_;
  FakeClock clock_;
  std::unique_ptr<TestStore> store_;
  std::vector<Chain> chains_;
  Model model_;
  std::set<Digest> pinned_;
  uint64_t version_ = 0;
  uint64_t hits_ = 0;
  uint64_t misses_ = 0;
  uint64_t fills_ = 0;
};

void RandomTest::Store() {
  const Chain& chain = PickChain();
  const size_t count = 1 + Pick(kBlocks);
  const wire::LayerBits kv = PickLayers();
  const wire::LayerBits e = PickLayers();
  const uint64_t version = ++version_;
  absl::StatusOr<ExtentStore::OfferResult> made =
      (*store_)->MakeOffer(kOwner, kTenant, store_->space(), chain.first(count), kv, e, absl::Seconds(30));
  ASSERT_TRUE(made.ok()) << made.status();
  for (const ExtentSelector& extent : Selectors(kv, e)) {
    for (size_t i = 0; i < count; ++i) {
      const Digest& block = chain.offered[i].hash;
      const wire::LayerBits& want = extent.kind == Kind::kKv ? made->blocks[i].want_kv : made->blocks[i].want_e;
      if (((want[0] >> extent.layer) & 1) == 0) continue;
      model_.Gone(block, extent);  // wanted: it was not there
      if (Pick(8) == 0) continue;  // never filled
      absl::StatusOr<FillSlot> slot = store_->Allocate(made->offer, i, extent);
      if (!slot.ok()) {
        EXPECT_TRUE(absl::IsResourceExhausted(slot.status())) << slot.status();
        continue;
      }
      const std::string bytes = ExtentBytes(block, extent, slot->bytes(), version);
      std::memcpy(slot->data(), bytes.data(), bytes.size());
      if (Pick(16) == 0) continue;  // aborted
      const uint64_t checksum =
          ExtentChecksum({block, extent.kind, extent.layer}, absl::Span<const std::byte>(slot->data(), slot->bytes()));
      const absl::StatusOr<bool> committed = slot->Commit(checksum);
      ASSERT_TRUE(committed.ok() && *committed);
      model_.Filled(block, extent, version);
      ++fills_;
    }
  }
  const absl::Status sealed = store_->Seal(made->offer, Pick(10) == 0);
  EXPECT_TRUE(sealed.ok() || absl::IsResourceExhausted(sealed)) << sealed;
}

void RandomTest::Check(const References& references, size_t i, const Digest& block, ExtentSelector extent) {
  const absl::StatusOr<HostExtent> loaded = store_->Load(references, i, extent);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  const std::optional<uint64_t> version = model_.Version(block, extent);
  if (!version.has_value()) FAIL() << "an extent that nobody filled";
  const std::string expected = ExtentBytes(block, extent, SmallLayout().extent_bytes(extent.kind), *version);
  ASSERT_EQ(loaded->bytes(), expected.size());
  ASSERT_EQ(std::memcmp(loaded->data(), expected.data(), expected.size()), 0);
}

void RandomTest::Fetch() {
  const Chain& chain = PickChain();
  const size_t first = Pick(kBlocks);
  const std::vector<Digest> all = chain.hashes();
  const std::vector<Digest> hashes(all.begin() + first, all.begin() + first + 1 + Pick(kBlocks - first));
  std::vector<ExtentSelector> wanted;
  for (size_t i = 0; i <= Pick(2); ++i) wanted.push_back(PickExtent());
  const Acquired acquired = (*store_)->Acquire(kTenant, store_->space(), hashes, wanted);
  ++(acquired.references.size() > 0 ? hits_ : misses_);
  for (size_t i = 0; i < acquired.references.size(); ++i) {
    for (const ExtentSelector& extent : wanted) Check(acquired.references, i, hashes[i], extent);
  }
}

void RandomTest::PinOrUnpin() {
  const Digest block = PickChain().offered[Pick(kBlocks)].hash;
  if (Pick(2) == 0) {
    const auto pinned = (*store_)->Pin(kOwner, kTenant, store_->space(), {&block, 1});
    if (!pinned.ok() || *pinned == 0) return;
    CheckCoverage(block);  // what had been evicted before is not pinned
    pinned_.insert(block);
  } else {
    EXPECT_EQ((*store_)->Unpin(kOwner, kTenant, store_->space(), {&block, 1}), pinned_.erase(block));
  }
}

void RandomTest::CheckCoverage(const Digest& block) {
  const wire::BlockCoverage coverage = store_->Coverage(block);
  for (const ExtentSelector& extent : Selectors(AllLayers(), AllLayers())) {
    const wire::LayerBits& bits = extent.kind == Kind::kKv ? coverage.kv : coverage.e;
    const bool there = (bits[0] >> extent.layer) & 1;
    const bool filled = model_.Version(block, extent).has_value();
    ASSERT_TRUE(!there || filled) << "coverage of an extent that nobody filled";
    if (there) continue;
    ASSERT_FALSE(filled && pinned_.contains(block)) << "a pinned extent is gone";
    model_.Gone(block, extent);
  }
}

void RandomTest::Remove() {
  const Digest block = PickChain().offered[Pick(kBlocks)].hash;
  (*store_)->Remove(kTenant, store_->space(), {&block, 1});
  model_.Removed(block);
  pinned_.erase(block);
  EXPECT_EQ(store_->Coverage(block).kv, wire::LayerBits{});
}

void RandomTest::Advance() {
  clock_.Advance(absl::Seconds(Pick(200)));
  (*store_)->Drain();
}

void RandomTest::Restart() {
  store_->Restart();
  pinned_.clear();  // of a session that is gone
}

TEST_F(RandomTest, EveryReadGetsTheBytesOfOneFillOrMisses) {
  const uint64_t operations = FromEnvironment("DROIDSPEAK_STORE_OPS", 20000);
  for (uint64_t i = 0; i < operations; ++i) {
    SCOPED_TRACE(::testing::Message() << "operation " << i << " of seed " << seed_);
    const size_t dice = Pick(1000);
    if (dice < 60) {
      Store();
    } else if (dice < 700) {
      Fetch();
    } else if (dice < 850) {
      for (const Digest& block : PickChain().hashes()) CheckCoverage(block);
    } else if (dice < 930) {
      PinOrUnpin();
    } else if (dice < 980) {
      Remove();
    } else if (dice < 998) {
      Advance();
    } else {
      Restart();
    }
    if (HasFatalFailure()) return;
  }
  const StoreStats stats = (*store_)->stats();
  std::cout << operations << " operations, " << fills_ << " fills, " << hits_ << " hits, " << misses_ << " misses, "
            << stats.host_to_rocksdb << " spilled since the last restart\n";
  EXPECT_GT(hits_, operations / 20);
  EXPECT_EQ(stats.checksum_errors, 0);
}

}  // namespace
}  // namespace droidspeak::testing
