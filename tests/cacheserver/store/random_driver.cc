// SPDX-License-Identifier: Apache-2.0
// Time, reading, pinning, removing. random_offers.cc has what fills.
#include "tests/cacheserver/store/random_driver.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/key/checksum.h"
#include "gtest/gtest.h"

namespace droidspeak::testing {
namespace {

constexpr size_t kChains = 10;  // a namespace
constexpr size_t kBlocks = 8;   // a chain
constexpr absl::Duration kTtl = absl::Seconds(3000);
constexpr size_t kMostHeld = 4;
constexpr OwnerId kOwners = 3;

// Extents of 4 to 64 KiB.
Layout MakeLayout(uint32_t layers, uint32_t kv_heads, uint32_t hidden, uint32_t block_tokens) {
  Layout layout;
  layout.layers = layers;
  layout.kv_heads = kv_heads;
  layout.head_dim = 64;
  layout.hidden = hidden;
  layout.block_tokens = block_tokens;
  return layout;
}

// Three tenants with two namespaces each. The tenants' hashes are the same.
std::vector<Space> MakeSpaces() {
  const Layout small = MakeLayout(12, 1, 64, 32);
  const Layout middle = MakeLayout(4, 2, 64, 64);
  const Layout large = MakeLayout(3, 2, 128, 128);
  const std::pair<Layout, Layout> layouts[] = {{small, middle}, {small, large}, {middle, large}};
  std::vector<Space> spaces;
  for (uint32_t tenant = 0; tenant < 3; ++tenant) {
    for (int which = 0; which < 2; ++which) {
      const Layout& layout = which == 0 ? layouts[tenant].first : layouts[tenant].second;
      spaces.push_back({tenant, Sha256Of(absl::StrCat("space ", tenant, " ", which)), layout, 0});
    }
  }
  return spaces;
}

uint64_t Mix(uint64_t seed, uint64_t index) {
  uint64_t z = seed * 0x9E3779B97F4A7C15u + index + 1;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

}  // namespace

RandomDriver::RandomDriver(const StoreConditions& conditions, uint64_t seed)
    : conditions_(conditions), seed_(seed), spaces_(MakeSpaces()), model_(conditions.evicts, kTtl) {
  StoreOptions options;
  options.host_pool_bytes = conditions.pool_bytes;
  if (conditions.spill_bytes > 0) {
    options.spill_dir = folder_.path();
    options.spill_limit_bytes = conditions.spill_bytes;
  }
  options.default_ttl = kTtl;
  options.clock = clock_.clock();
  wall_at_open_ = options.clock.wall();
  steady_at_open_ = options.clock.steady();
  store_ = std::make_unique<TestStore>(options);
  OpenSpaces();
}

RandomDriver::~RandomDriver() = default;

void RandomDriver::OpenSpaces() {
  for (Space& space : spaces_) {
    const std::string tenant = space.tenant == kTenant ? "tenant" : absl::StrCat("tenant ", space.tenant);
    ASSERT_EQ((*store_)->OpenTenant(tenant).value(), space.tenant);
    const absl::StatusOr<uint32_t> id = (*store_)->OpenNamespace(space.tenant, space.name, space.layout);
    ASSERT_TRUE(id.ok()) << id.status();
    space.id = *id;
  }
  SetTime();
}

void RandomDriver::SetTime() {
  const absl::Duration since = clock_.clock().steady() - steady_at_open_;
  model_.SetTime(absl::ToUnixSeconds(wall_at_open_ + since));
}

void RandomDriver::Step(uint64_t index) {
  random_.seed(Mix(seed_, index));
  const size_t dice = Pick(1000);
  if (dice < 80) return StartOffer(/*finish=*/true);
  if (dice < 120) return StartOffer(/*finish=*/false);
  if (dice < 200) return ContinueOffer();
  if (dice < 600) return Fetch();
  if (dice < 660) return CheckHeld();
  if (dice < 780) return Cover();
  if (dice < 825) return Pin();
  if (dice < 855) return Unpin();
  if (dice < 895) return Remove();
  if (dice < 955) return Stranger();
  if (dice < 965) return DropOwner();
  if (dice < 985) return Advance();
  if (dice < 998) return CheckStats();
  Restart();
}

std::vector<Digest> RandomDriver::PickRun(const Space& space, size_t& first) {
  // Chains of a tenant's two namespaces differ; those of different tenants are the same.
  const size_t which = &space - spaces_.data();
  const std::vector<Digest> hashes = Chain(Pick(kChains) + kChains * (which % 2), kBlocks).hashes();
  first = Pick(2) == 0 ? 0 : Pick(kBlocks);
  const size_t count = 1 + Pick(kBlocks - first);
  return {hashes.begin() + first, hashes.begin() + first + count};
}

std::vector<ExtentSelector> RandomDriver::PickExtents(const Space& space) {
  std::vector<ExtentSelector> extents;
  const size_t count = 1 + Pick(3);
  for (size_t i = 0; i < count; ++i) {
    extents.push_back({Pick(3) == 0 ? Kind::kE : Kind::kKv, static_cast<uint16_t>(Pick(space.layout.layers))});
  }
  return extents;
}

void RandomDriver::Sync(const Space& space, const std::vector<Digest>& hashes) {
  if (conditions_.evicts) (*store_)->Drain();  // what is about to be evicted is
  std::vector<wire::BlockCoverage> coverage(hashes.size());
  (*store_)->Coverage(space.tenant, space.id, hashes, absl::MakeSpan(coverage));
  for (size_t i = 0; i < hashes.size(); ++i) model_.Observe(space, hashes[i], coverage[i]);
}

void RandomDriver::Cover() {
  const Space& space = PickSpace();
  size_t first = 0;
  Sync(space, PickRun(space, first));
}

void RandomDriver::CheckBytes(const Held& held, size_t i, ExtentSelector extent) {
  const ModelBlock* const now = model_.Find(*held.space, held.hashes[i]);
  const bool current = now != nullptr && now->generation == held.generations[i];
  const absl::StatusOr<HostExtent> loaded = store_->Load(held.acquired.references, i, extent);
  if (!loaded.ok()) {
    ASSERT_FALSE(current) << "a referenced extent can't be read: " << loaded.status();
    ASSERT_TRUE(absl::IsNotFound(loaded.status())) << loaded.status();
    return;
  }
  const uint64_t version = held.versions[i].at(KeyOf(extent));
  const std::string expected =
      ExtentBytes(held.hashes[i], extent, held.space->layout.extent_bytes(extent.kind), version);
  ASSERT_EQ(loaded->bytes(), expected.size());
  ASSERT_EQ(std::memcmp(loaded->data(), expected.data(), expected.size()), 0) << "these are other bytes";
  const absl::Span<const std::byte> bytes(loaded->data(), loaded->bytes());
  ASSERT_EQ(loaded->checksum(), ExtentChecksum({held.hashes[i], extent.kind, extent.layer}, bytes));
}

void RandomDriver::Fetch() {
  Held held;
  held.space = &PickSpace();
  size_t first = 0;
  held.hashes = PickRun(*held.space, first);
  const std::vector<ExtentSelector> wanted = PickExtents(*held.space);
  const bool keep = Pick(6) == 0;
  Sync(*held.space, held.hashes);
  for (const Digest& hash : held.hashes) {
    const ModelBlock* const block = model_.Find(*held.space, hash);
    const bool all = block != nullptr && std::all_of(wanted.begin(), wanted.end(), [&](const ExtentSelector& extent) {
                       return block->ready.contains(KeyOf(extent));
                     });
    if (!all) break;
    held.generations.push_back(block->generation);
    held.versions.push_back(block->ready);
  }
  held.acquired = (*store_)->Acquire(held.space->tenant, held.space->id, held.hashes, wanted);
  const size_t run = held.acquired.references.size();
  ASSERT_EQ(run, held.generations.size()) << "the leading run of " << held.hashes.size() << " blocks";
  ASSERT_EQ(held.acquired.tier_extents[1] + held.acquired.tier_extents[2], run * wanted.size());
  if (run == 0) return;
  ++hits_;
  for (size_t i = 0; i < run; ++i) ++model_.Find(*held.space, held.hashes[i])->references;
  held.hashes.resize(run);
  for (size_t i = 0; i < run; ++i) {
    for (const ExtentSelector& extent : wanted) CheckBytes(held, i, extent);
  }
  held_.push_back(std::move(held));
  if (!keep || held_.size() > kMostHeld) ReleaseHeld(keep ? 0 : held_.size() - 1);
}

// Whatever has happened since, what is referenced is still what it was.
void RandomDriver::CheckHeld() {
  if (held_.empty()) return;
  const size_t index = Pick(held_.size());
  const Held& held = held_[index];
  for (size_t i = 0; i < held.hashes.size(); ++i) {
    for (const auto& [key, version] : held.versions[i]) CheckBytes(held, i, {key.first, key.second});
  }
  Sync(*held.space, held.hashes);
  if (Pick(2) == 0) ReleaseHeld(index);
}

void RandomDriver::ReleaseHeld(size_t index) {
  Held& held = held_[index];
  held.acquired.references.Release();
  for (size_t i = 0; i < held.hashes.size(); ++i) {
    ModelBlock* const block = model_.Find(*held.space, held.hashes[i]);
    if (block == nullptr || block->generation != held.generations[i]) continue;
    --block->references;
    model_.Settle(*held.space, held.hashes[i]);
  }
  held_.erase(held_.begin() + static_cast<ptrdiff_t>(index));
}

void RandomDriver::Pin() {
  const Space& space = PickSpace();
  const OwnerId owner = 1 + Pick(kOwners);
  size_t first = 0;
  std::vector<Digest> hashes = PickRun(space, first);
  hashes.resize(std::min<size_t>(hashes.size(), 1 + Pick(3)));
  Sync(space, hashes);
  const StoreStats stats = (*store_)->stats();
  const uint64_t most = (stats.tiers[1].capacity_bytes + stats.tiers[2].capacity_bytes) / 10;
  std::vector<ModelBlock*> added;
  uint64_t bytes = model_.pinned_bytes();
  for (const Digest& hash : hashes) {
    ModelBlock* const block = model_.Find(space, hash);
    if (block == nullptr || block->pins.contains(owner)) continue;
    added.push_back(block);
    bytes += block->HeldBytes();
  }
  const absl::StatusOr<uint32_t> pinned = (*store_)->Pin(owner, space.tenant, space.id, hashes);
  if (bytes > most) {
    ASSERT_TRUE(absl::IsResourceExhausted(pinned.status())) << pinned.status();
    for (const Digest& hash : hashes) model_.Settle(space, hash);
    return;
  }
  ASSERT_TRUE(pinned.ok()) << pinned.status();
  ASSERT_EQ(*pinned, added.size());
  for (ModelBlock* block : added) block->pins[owner] = block->HeldBytes();
}

void RandomDriver::Unpin() {
  const Space& space = PickSpace();
  const OwnerId owner = 1 + Pick(kOwners);
  size_t first = 0;
  const std::vector<Digest> hashes = PickRun(space, first);
  Sync(space, hashes);
  uint32_t expected = 0;
  for (const Digest& hash : hashes) {
    ModelBlock* const block = model_.Find(space, hash);
    if (block == nullptr || !block->pins.contains(owner)) continue;
    ++expected;
    model_.Unpin(space, hash, owner);
  }
  ASSERT_EQ((*store_)->Unpin(owner, space.tenant, space.id, hashes), expected);
}

void RandomDriver::Remove() {
  const Space& space = PickSpace();
  size_t first = 0;
  std::vector<Digest> hashes = PickRun(space, first);
  hashes.resize(std::min<size_t>(hashes.size(), 1 + Pick(3)));
  Sync(space, hashes);
  uint32_t expected = 0;
  for (const Digest& hash : hashes) {
    if (model_.Find(space, hash) == nullptr) continue;
    ++expected;
    model_.Remove(space, hash);
  }
  ASSERT_EQ((*store_)->Remove(space.tenant, space.id, hashes), expected);
  Sync(space, hashes);
}

// Another tenant, and the same tenant by another namespace: what they ask for is not there, and stays what it was.
void RandomDriver::Stranger() {
  const Space& space = PickSpace();
  const Space& other = spaces_[(&space - spaces_.data()) ^ 1];  // of the same tenant
  const uint32_t stranger = (space.tenant + 1 + Pick(2)) % 3;
  size_t first = 0;
  const std::vector<Digest> hashes = PickRun(space, first);
  const std::vector<ExtentSelector> wanted = PickExtents(other.layout.layers < space.layout.layers ? other : space);
  Sync(space, hashes);
  const std::pair<uint32_t, uint32_t> askers[] = {{stranger, space.id}, {space.tenant, other.id}};
  for (const auto& [tenant, id] : askers) {
    ASSERT_EQ((*store_)->Acquire(tenant, id, hashes, wanted).references.size(), 0);
    std::vector<wire::BlockCoverage> coverage(hashes.size());
    (*store_)->Coverage(tenant, id, hashes, absl::MakeSpan(coverage));
    for (const wire::BlockCoverage& block : coverage) ASSERT_TRUE(block.kv[0] == 0 && block.e[0] == 0);
    ASSERT_EQ((*store_)->Remove(tenant, id, hashes), 0);
    ASSERT_EQ(*(*store_)->Pin(kOwners + 1, tenant, id, hashes), 0);
    ASSERT_EQ((*store_)->Unpin(1 + Pick(kOwners), tenant, id, hashes), 0);
  }
  std::vector<wire::OfferBlock> offered = {{hashes[0], Digest{}, 0}};
  const wire::LayerBits layer0 = Layers({0});
  const auto foreign = (*store_)->MakeOffer(1, stranger, space.id, offered, layer0, {}, absl::Seconds(30));
  ASSERT_TRUE(absl::IsInvalidArgument(foreign.status())) << foreign.status();
  if (model_.Find(space, hashes[0]) != nullptr) {
    const auto squat = (*store_)->MakeOffer(1, space.tenant, other.id, offered, layer0, {}, absl::Seconds(30));
    ASSERT_TRUE(absl::IsInvalidArgument(squat.status())) << squat.status();
  }
  Sync(space, hashes);
}

void RandomDriver::DropOwner() {
  const OwnerId owner = 1 + Pick(kOwners);
  (*store_)->DropOwner(owner);
  for (OpenOffer& open : offers_) {
    if (open.owner == owner) EndOffer(open);
  }
  model_.UnpinAll(owner);
}

// Longer than any lease.
void RandomDriver::Advance() {
  clock_.Advance(absl::Seconds(40 + Pick(200)));
  if (Pick(4) == 0) clock_.JumpWall(absl::Seconds(Pick(2000)) - absl::Seconds(1000));
  for (OpenOffer& open : offers_) EndOffer(open);
  SetTime();
  (*store_)->Drain();
}

void RandomDriver::Restart() {
  if (conditions_.spill_bytes == 0 && Pick(8) > 0) return CheckStats();  // everything is gone with it
  offers_.clear();
  held_.clear();
  // What has expired is removed, or a wall clock that went back would find it alive again.
  (*store_)->Drain();
  wall_at_open_ = clock_.clock().wall();
  steady_at_open_ = clock_.clock().steady();
  store_->Restart();
  model_.Restart(conditions_.spill_bytes > 0);
  OpenSpaces();
}

void RandomDriver::CheckStats() {
  (*store_)->Drain();
  const StoreStats stats = (*store_)->stats();
  ASSERT_EQ(stats.checksum_errors, 0);
  ASSERT_EQ(stats.queued_loads, 0);
  ASSERT_EQ(stats.staging_bytes, 0);
  if (conditions_.evicts) return;
  ASSERT_EQ(stats.blocks, model_.blocks());
  if (conditions_.spill_bytes > 0) return;  // which of the tiers has it is the store's choice
  ASSERT_EQ(store_->Extents(Tier::kHost), model_.extents());
}

void RandomDriver::Finish() {
  offers_.clear();
  while (!held_.empty()) ReleaseHeld(0);
  for (OwnerId owner = 1; owner <= kOwners; ++owner) (*store_)->DropOwner(owner);
  for (size_t s = 0; s < spaces_.size(); ++s) {
    for (size_t chain = 0; chain < kChains; ++chain) {
      (*store_)->Remove(spaces_[s].tenant, spaces_[s].id, Chain(chain + kChains * (s % 2), kBlocks).hashes());
    }
  }
  (*store_)->Drain();
  const StoreStats stats = (*store_)->stats();
  EXPECT_EQ(stats.blocks, 0);
  EXPECT_EQ(store_->Extents(Tier::kHost), 0);
  EXPECT_EQ(store_->Extents(Tier::kRocksdb), 0);
  EXPECT_EQ(stats.checksum_errors, 0);
}

}  // namespace droidspeak::testing
