// SPDX-License-Identifier: Apache-2.0
// A store with small extents and synchronous calls, for tests.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "cacheserver/store.h"

namespace droidspeak::testing {

inline constexpr uint32_t kTenant = 0;
inline constexpr OwnerId kOwner = 1;

// Twelve layers (two eviction groups); KV extents of 32 KiB, E extents of 16 KiB.
Layout SmallLayout();
wire::LayerBits Layers(std::initializer_list<uint32_t> layers);
wire::LayerBits AllLayers();
std::vector<ExtentSelector> Selectors(const wire::LayerBits& kv, const wire::LayerBits& e);

inline constexpr size_t kExtentsABlock = 24;

// A chain of blocks; its hashes follow from the seed.
struct Chain {
  explicit Chain(uint64_t seed, size_t blocks, const Digest& root = Digest{});
  std::vector<wire::OfferBlock> offered;
  std::vector<Digest> hashes() const;
  absl::Span<const wire::OfferBlock> first(size_t count) const { return absl::MakeSpan(offered).subspan(0, count); }
};

// Bytes that a fill with `version` gives an extent.
std::string ExtentBytes(const Digest& block, ExtentSelector extent, uint64_t bytes, uint64_t version = 0);

// A clock that tests set.
class FakeClock {
 public:
  void Advance(absl::Duration by) { steady_ns_ += absl::ToInt64Nanoseconds(by); }
  void JumpWall(absl::Duration by) { jump_ns_ += absl::ToInt64Nanoseconds(by); }
  StoreClock clock();

 private:
  std::atomic<int64_t> steady_ns_{1'000'000'000};
  std::atomic<int64_t> jump_ns_{0};
};

// A folder that goes with it.
class TempFolder {
 public:
  TempFolder();
  ~TempFolder();
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// Opens a store and its namespace 0; fails the test if it can't.
class TestStore {
 public:
  explicit TestStore(StoreOptions options);
  ~TestStore();
  ExtentStore& operator*() { return *store_; }
  ExtentStore* operator->() { return store_.get(); }
  uint32_t space() const { return space_; }
  // Closes and opens again with the same options.
  void Restart();
  const StoreOptions& options() const { return options_; }

  // Offers and fills all that is wanted, in order of layers, then blocks; the first error, or the seal's.
  absl::Status Fill(absl::Span<const wire::OfferBlock> blocks, const wire::LayerBits& kv, const wire::LayerBits& e,
                    bool durable = false, uint64_t version = 0);
  absl::Status FillAll(const Chain& chain, bool durable = false) {
    return Fill(chain.offered, AllLayers(), AllLayers(), durable);
  }
  absl::StatusOr<FillSlot> Allocate(const OfferPtr& offer, size_t block, ExtentSelector extent);
  absl::Status Seal(const OfferPtr& offer, bool durable);
  absl::StatusOr<HostExtent> Load(const References& references, size_t block, ExtentSelector extent);
  // The bytes of one extent, checked against the checksum that came with them; nothing: a miss.
  std::optional<std::string> Read(const Digest& block, ExtentSelector extent);
  wire::BlockCoverage Coverage(const Digest& block);
  size_t Extents(Tier tier) const;

 private:
  void Open();
  StoreOptions options_;
  std::unique_ptr<ExtentStore> store_;
  uint32_t space_ = 0;
};

// How many extents of the chain come back with their bytes; wrong bytes are a failure.
size_t CountExact(TestStore& store, const Chain& chain);

}  // namespace droidspeak::testing
