// SPDX-License-Identifier: Apache-2.0
#include "tests/cacheserver/store/store_fixture.h"

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "common/base/check.h"
#include "common/key/checksum.h"
#include "gtest/gtest.h"

namespace droidspeak::testing {

Layout SmallLayout() {
  Layout layout;
  layout.layers = 12;
  layout.kv_heads = 2;
  layout.head_dim = 32;
  layout.hidden = 64;
  layout.block_tokens = 128;
  return layout;
}

wire::LayerBits Layers(std::initializer_list<uint32_t> layers) {
  wire::LayerBits bits{};
  for (uint32_t layer : layers) bits[layer / 64] |= uint64_t{1} << (layer % 64);
  return bits;
}

wire::LayerBits AllLayers() {
  return {(uint64_t{1} << SmallLayout().layers) - 1};
}

std::vector<ExtentSelector> Selectors(const wire::LayerBits& kv, const wire::LayerBits& e) {
  std::vector<ExtentSelector> selectors;
  for (uint16_t layer = 0; layer < SmallLayout().layers; ++layer) {
    if ((kv[0] >> layer) & 1) selectors.push_back({Kind::kKv, layer});
    if ((e[0] >> layer) & 1) selectors.push_back({Kind::kE, layer});
  }
  return selectors;
}

Chain::Chain(uint64_t seed, size_t blocks, const Digest& root) {
  Digest parent = root;
  for (uint32_t i = 0; i < blocks; ++i) {
    const Digest hash = Sha256Of(absl::StrCat("block ", seed, " ", i));
    offered.push_back({hash, parent, i});
    parent = hash;
  }
}

std::vector<Digest> Chain::hashes() const {
  std::vector<Digest> hashes;
  for (const wire::OfferBlock& block : offered) hashes.push_back(block.hash);
  return hashes;
}

std::string ExtentBytes(const Digest& block, ExtentSelector extent, uint64_t bytes, uint64_t version) {
  uint64_t state = version * 0x9E3779B97F4A7C15u + static_cast<uint64_t>(extent.kind) * 1000 + extent.layer + 1;
  for (size_t i = 0; i < 8; ++i) state = state * 257 + block.bytes[i];
  std::string out(bytes, '\0');
  for (size_t i = 0; i + 8 <= out.size(); i += 8) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    std::memcpy(out.data() + i, &state, sizeof(state));
  }
  return out;
}

StoreClock FakeClock::clock() {
  return {[this] { return absl::Nanoseconds(steady_ns_.load()); },
          [this] { return absl::FromUnixSeconds(1'700'000'000) + absl::Nanoseconds(steady_ns_ + jump_ns_); }};
}

TempFolder::TempFolder() {
  std::string pattern = (std::filesystem::temp_directory_path() / "droidspeak-store-XXXXXX").string();
  DROIDSPEAK_CHECK(mkdtemp(pattern.data()) != nullptr);
  path_ = pattern;
}

TempFolder::~TempFolder() {
  std::filesystem::remove_all(path_);
}

TestStore::TestStore(StoreOptions options) : options_(std::move(options)) {
  Open();
}

TestStore::~TestStore() = default;

void TestStore::Open() {
  absl::StatusOr<std::unique_ptr<ExtentStore>> store = ExtentStore::Open(options_);
  EXPECT_TRUE(store.ok()) << store.status();
  DROIDSPEAK_CHECK(store.ok());
  store_ = *std::move(store);
  DROIDSPEAK_CHECK(store_->OpenTenant("tenant").value() == kTenant);
  const absl::StatusOr<uint32_t> space = store_->OpenNamespace(kTenant, Sha256Of("namespace"), SmallLayout());
  DROIDSPEAK_CHECK(space.ok());
  space_ = *space;
}

void TestStore::Restart() {
  EXPECT_TRUE(store_->Close().ok());
  store_.reset();
  Open();
}

absl::StatusOr<FillSlot> TestStore::Allocate(const OfferPtr& offer, size_t block, ExtentSelector extent) {
  absl::Notification done;
  std::optional<absl::StatusOr<FillSlot>> result;
  store_->AllocateFill(offer, block, extent, [&](absl::StatusOr<FillSlot> slot) {
    result.emplace(std::move(slot));
    done.Notify();
  });
  done.WaitForNotification();
  return *std::move(result);
}

absl::Status TestStore::Seal(const OfferPtr& offer, bool durable) {
  absl::Notification done;
  absl::Status result;
  store_->Seal(offer, durable, [&](absl::Status status) {
    result = std::move(status);
    done.Notify();
  });
  done.WaitForNotification();
  return result;
}

absl::Status TestStore::Fill(absl::Span<const wire::OfferBlock> blocks, const wire::LayerBits& kv,
                             const wire::LayerBits& e, bool durable, uint64_t version) {
  absl::StatusOr<ExtentStore::OfferResult> made =
      store_->MakeOffer(kOwner, kTenant, space_, blocks, kv, e, absl::Seconds(30));
  if (!made.ok()) return made.status();
  for (const ExtentSelector& extent : Selectors(kv, e)) {
    for (size_t i = 0; i < blocks.size(); ++i) {
      const wire::LayerBits& want = extent.kind == Kind::kKv ? made->blocks[i].want_kv : made->blocks[i].want_e;
      if (((want[0] >> extent.layer) & 1) == 0) continue;
      absl::StatusOr<FillSlot> slot = Allocate(made->offer, i, extent);
      if (!slot.ok()) {
        (void)Seal(made->offer, false);
        return slot.status();
      }
      const std::string bytes = ExtentBytes(blocks[i].hash, extent, slot->bytes(), version);
      std::memcpy(slot->data(), bytes.data(), bytes.size());
      const absl::Span<const std::byte> span(slot->data(), slot->bytes());
      const absl::StatusOr<bool> committed =
          slot->Commit(ExtentChecksum({blocks[i].hash, extent.kind, extent.layer}, span));
      if (!committed.ok()) return committed.status();
    }
  }
  return Seal(made->offer, durable);
}

absl::StatusOr<HostExtent> TestStore::Load(const References& references, size_t block, ExtentSelector extent) {
  absl::Notification done;
  std::optional<absl::StatusOr<HostExtent>> result;
  store_->Load(references, block, extent, [&](absl::StatusOr<HostExtent> loaded) {
    result.emplace(std::move(loaded));
    done.Notify();
  });
  done.WaitForNotification();
  return *std::move(result);
}

std::optional<std::string> TestStore::Read(const Digest& block, ExtentSelector extent) {
  const Acquired acquired = store_->Acquire(kTenant, space_, {&block, 1}, {&extent, 1});
  if (acquired.references.size() == 0) return std::nullopt;
  absl::StatusOr<HostExtent> loaded = Load(acquired.references, 0, extent);
  if (!loaded.ok()) {
    EXPECT_TRUE(absl::IsNotFound(loaded.status()) || absl::IsUnavailable(loaded.status())) << loaded.status();
    return std::nullopt;
  }
  const absl::Span<const std::byte> bytes(loaded->data(), loaded->bytes());
  EXPECT_EQ(loaded->checksum(), ExtentChecksum({block, extent.kind, extent.layer}, bytes));
  return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

wire::BlockCoverage TestStore::Coverage(const Digest& block) {
  wire::BlockCoverage coverage;
  store_->Coverage(kTenant, space_, {&block, 1}, {&coverage, 1});
  return coverage;
}

size_t TestStore::Extents(Tier tier) const {
  const StoreStats stats = store_->stats();
  const auto& extents = stats.tiers[static_cast<size_t>(tier)].extents;
  return extents[0] + extents[1];
}

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

}  // namespace droidspeak::testing
