// SPDX-License-Identifier: Apache-2.0
#include <atomic>
#include <random>
#include <thread>

#include "common/key/checksum.h"
#include "gtest/gtest.h"
#include "tests/cacheserver/store/store_fixture.h"

namespace droidspeak::testing {
namespace {

// Readers, fillers, a remover and the store's own threads, on few blocks and little memory. Every byte read is checked
// against its checksum, which names block, kind and layer.
TEST(ConcurrencyTest, ReadersFillersAndEvictionDoNotDisturbEachOther) {
  const TempFolder folder;
  StoreOptions options;
  options.host_pool_bytes = 24 << 20;  // room for a slab of each size of extent, and for half of the data
  options.spill_dir = folder.path();
  options.spill_limit_bytes = 96 << 20;
  TestStore store(options);
  std::vector<Chain> chains;
  for (uint64_t seed = 0; seed < 16; ++seed) chains.emplace_back(seed, 8);
#ifdef DROIDSPEAK_SANITIZED
  constexpr int kRounds = 15;  // they are some ten times slower
#else
  constexpr int kRounds = 60;
#endif
  std::atomic<uint64_t> reads{0};
  std::atomic<int> filling{2};

  const auto fill = [&](uint64_t seed) {
    std::mt19937_64 random(seed);
    // On until there was something to read, which the remover may take away again.
    for (int i = 0; i < kRounds || (reads < kRounds && i < 100 * kRounds); ++i) {
      const absl::Status filled =
          store.Fill(chains[random() % chains.size()].offered, Layers({1, 2, 9}), Layers({4}), random() % 8 == 0, seed);
      // Unavailable: a durable one while another fills the same.
      EXPECT_TRUE(filled.ok() || absl::IsResourceExhausted(filled) || absl::IsNotFound(filled) ||
                  absl::IsUnavailable(filled))
          << filled;
    }
    --filling;
  };
  const auto read = [&](uint64_t seed) {
    std::mt19937_64 random(seed);
    const std::vector<ExtentSelector> wanted = {{Kind::kKv, 1}, {Kind::kE, 4}};
    while (filling > 0) {
      const std::vector<Digest> hashes = chains[random() % chains.size()].hashes();
      const Acquired acquired = store->Acquire(kTenant, store.space(), hashes, wanted);
      for (size_t b = 0; b < acquired.references.size(); ++b) {
        for (const ExtentSelector& extent : wanted) {
          const absl::StatusOr<HostExtent> loaded = store.Load(acquired.references, b, extent);
          if (!loaded.ok()) continue;
          const absl::Span<const std::byte> bytes(loaded->data(), loaded->bytes());
          EXPECT_EQ(loaded->checksum(), ExtentChecksum({hashes[b], extent.kind, extent.layer}, bytes));
          ++reads;
        }
      }
    }
  };
  const auto remove = [&] {
    std::mt19937_64 random(99);
    for (int i = 0; i < kRounds; ++i) {
      const Digest& block = chains[random() % chains.size()].offered[random() % 8].hash;
      store->Remove(kTenant, store.space(), {&block, 1});
      wire::BlockCoverage coverage;
      store->Coverage(kTenant, store.space(), {&block, 1}, {&coverage, 1});
      (void)store->Pin(kOwner, kTenant, store.space(), {&block, 1});
      store->Unpin(kOwner, kTenant, store.space(), {&block, 1});
    }
  };
  {
    std::vector<std::jthread> threads;
    for (uint64_t seed = 1; seed <= 2; ++seed) {
      threads.emplace_back(fill, seed);
      threads.emplace_back(read, 10 + seed);
    }
    threads.emplace_back(remove);
  }
  EXPECT_GT(reads, 0);
  EXPECT_EQ(store->stats().checksum_errors, 0);
  // Nothing is left in use: everything can be removed, and then nothing occupies memory.
  for (const Chain& chain : chains) store->Remove(kTenant, store.space(), chain.hashes());
  store->Drain();
  EXPECT_EQ(store->stats().blocks, 0);
  EXPECT_EQ(store.Extents(Tier::kHost), 0);
  EXPECT_EQ(store.Extents(Tier::kRocksdb), 0);
}

TEST(ConcurrencyTest, CloseWhileLoadsWaitAnswersThemAll) {
  const TempFolder folder;
  StoreOptions options;
  options.host_pool_bytes = 8 << 20;
  options.spill_dir = folder.path();
  options.spill_limit_bytes = 1 << 30;
  TestStore store(options);
  const Chain chain(1, 32);
  ASSERT_TRUE(store.Fill(chain.offered, AllLayers(), {}).ok());
  const auto kv = Selectors(AllLayers(), {});
  Acquired acquired = store->Acquire(kTenant, store.space(), chain.hashes(), kv);
  absl::Mutex mutex;
  std::vector<HostExtent> kept;  // never given back: the rest waits for staging buffers
  std::atomic<size_t> answered{0};
  for (size_t i = 0; i < acquired.references.size(); ++i) {
    for (const ExtentSelector& extent : kv) {
      store->Load(acquired.references, i, extent, [&](absl::StatusOr<HostExtent> loaded) {
        absl::MutexLock lock(&mutex);
        if (loaded.ok()) kept.push_back(*std::move(loaded));
        ++answered;
      });
    }
  }
  (void)store->Close();
  EXPECT_EQ(answered, acquired.references.size() * kv.size());
  EXPECT_LT(kept.size(), answered);
  kept.clear();
  acquired.references.Release();
}

// Several fill the layers of one group of the same blocks, through a pool that holds a part of them: what one fills
// while the others' are written to disk must not leave memory unwritten.
TEST(ConcurrencyTest, DurableFillsOfOneGroupThroughASmallPoolAreAllKept) {
  const TempFolder folder;
  StoreOptions options;
  options.host_pool_bytes = 4 << 20;
  options.spill_dir = folder.path();
  TestStore store(options);
  std::vector<Chain> chains;
  for (uint64_t seed = 0; seed < 24; ++seed) chains.emplace_back(seed, 8);
  std::vector<std::thread> fillers;
  for (uint32_t first = 0; first < 8; first += 2) {
    fillers.emplace_back([&, first] {
      for (const Chain& chain : chains) {
        const absl::Status filled = store.Fill(chain.offered, Layers({first, first + 1}), {}, /*durable=*/true);
        EXPECT_TRUE(filled.ok()) << filled;
      }
    });
  }
  for (std::thread& filler : fillers) filler.join();
  for (const Chain& chain : chains) {
    for (const Digest& hash : chain.hashes()) EXPECT_EQ(store.Coverage(hash).kv[0], 0xffu);
  }
}

}  // namespace
}  // namespace droidspeak::testing
