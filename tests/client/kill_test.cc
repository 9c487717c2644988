// SPDX-License-Identifier: Apache-2.0
// `kill -9` of a server at random points while it is filled and spills; then a start on what it left.
#include <algorithm>
#include <iostream>
#include <numeric>
#include <random>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "common/base/thread.h"
#include "tests/client/client_fixture.h"
#include "tests/support/count.h"

namespace droidspeak {
namespace {

constexpr int kBlocks = 64;
constexpr int kCyclesAFolder = 10;
constexpr int kMostChains = 100;  // filled until the server is killed
constexpr absl::Duration kMostLife = absl::Milliseconds(400);
constexpr absl::Duration kLimit = absl::Seconds(60);

class KillTest : public ClientTest {
 protected:
  ServerProcess& Restart(const std::string& spill) {
    addresses_.clear();
    servers_.clear();
    return StartServer("a", {"--host-pool=16MiB", "--transport=local", "--spill=" + spill});
  }
  std::vector<TransferItem> Items(const Region& region) const {
    std::vector<TransferItem> items;
    for (int layer = 0; layer < static_cast<int>(layout_.layers); ++layer) {
      const uint64_t base = static_cast<uint64_t>(layer) * kBlocks * layout_.kv_bytes();
      items.push_back({Kind::kKv, layer, &region, base, base + layout_.k_bytes(), layout_.kv_bytes()});
    }
    return items;
  }
  std::vector<Digest> Hashes(const NamespaceHandle& ns, uint32_t chain) const {
    return BlockHashes(ns.bytes, Tokens(layout_, kBlocks, chain), layout_.block_tokens);
  }
  // All layers of a chain, one after the other.
  std::vector<std::byte> BytesOf(uint32_t chain) const {
    return Pattern(layout_.layers * kBlocks * layout_.kv_bytes(), chain);
  }

  bool StoreChain(Client& client, const NamespaceHandle& ns, Region& region, uint32_t chain, bool durable) {
    const std::vector<std::byte> bytes = BytesOf(chain);
    std::copy(bytes.begin(), bytes.end(), region.data());
    StoreOptions options;
    options.blocks = Hashes(ns, chain);
    options.parent = ns.bytes;
    options.kv = {0b1111};
    const auto store = client.StartStore(ns, options);
    if (!store.ok()) return false;
    std::vector<int> blocks(kBlocks);
    std::iota(blocks.begin(), blocks.end(), 0);
    const bool filled = (*store)->Fill(Items(region), blocks, {blocks.begin(), blocks.end()}).ok();
    return (*store)->Seal(durable, absl::Now() + kLimit).ok() && filled;
  }

  // How many extents of the chain arrive; each of them must be right.
  int CountExact(Client& client, const NamespaceHandle& ns, Region& region, uint32_t chain) {
    FetchOptions options;
    options.blocks = Hashes(ns, chain);
    options.items = Items(region);
    options.slots.resize(kBlocks);
    std::iota(options.slots.begin(), options.slots.end(), 0);
    auto fetch = client.StartFetch(ns, std::move(options));
    if (!fetch.ok()) return 0;
    const std::vector<std::byte> bytes = BytesOf(chain);
    int found = 0;
    for (int layer = 0; layer < static_cast<int>(layout_.layers); ++layer) {
      const int good = (*fetch)->Wait(layer, kBlocks, absl::Now() + kLimit);
      const auto first = static_cast<int64_t>(layer * kBlocks * layout_.kv_bytes());
      const auto length = static_cast<int64_t>(good * layout_.kv_bytes());
      EXPECT_TRUE(std::equal(region.data() + first, region.data() + first + length, bytes.begin() + first));
      found += good;
    }
    EXPECT_TRUE((*fetch)->Cancel(absl::Now() + kLimit));
    return found;
  }

  // Fills until the server dies.
  void FillUntilKilled(const std::string& spill) {
    ServerProcess& server = Restart(spill);
    const auto client = Connect("local");
    ASSERT_NE(client, nullptr);
    const NamespaceHandle ns = Open(*client);
    const auto region = client->AllocateRegion(BytesOf(0).size());
    ASSERT_TRUE(region.ok()) << region.status();
    absl::Notification give_up;
    const absl::Duration life = kMostLife * std::uniform_real_distribution<>(0.02, 1)(random_);
    const Thread killer("killer", [&](const std::stop_token&) {
      give_up.WaitForNotificationWithTimeout(life);
      server.Kill();
    });
    for (int i = 0; i < kMostChains; ++i) {
      const bool durable = random_() % 2 == 0;
      const uint32_t chain = ++last_chain_;
      chains_.push_back({chain, false});
      if (!StoreChain(*client, ns, **region, chain, durable)) break;
      chains_.back().durable = durable;
    }
  }

  void Check(const std::string& spill) {
    Restart(spill);
    const auto client = Connect("local");
    ASSERT_NE(client, nullptr);
    const NamespaceHandle ns = Open(*client);
    const auto region = client->AllocateRegion(BytesOf(0).size());
    ASSERT_TRUE(region.ok()) << region.status();
    for (const Filled& filled : chains_) {
      const int found = CountExact(*client, ns, **region, filled.chain);
      if (!filled.durable) continue;
      EXPECT_EQ(found, kBlocks * static_cast<int>(layout_.layers)) << "chain " << filled.chain;
      checked_extents_ += found;
    }
  }

  struct Filled {
    uint32_t chain;
    bool durable;  // acknowledged as such
  };
  std::vector<Filled> chains_;
  uint32_t last_chain_ = 0;
  int checked_extents_ = 0;
  std::mt19937_64 random_{5};
};

TEST_F(KillTest, KilledServerKeepsWhatItAcknowledgedAsDurableAndGivesNoWrongBytes) {
  const int cycles = Count(10, 200);
  std::unique_ptr<TemporaryFolder> spill;
  for (int cycle = 0; cycle < cycles && !HasFailure(); ++cycle) {
    SCOPED_TRACE(absl::StrCat("cycle ", cycle));
    if (cycle % kCyclesAFolder == 0) {
      spill = std::make_unique<TemporaryFolder>();
      chains_.clear();
    }
    FillUntilKilled(spill->path() + "/store");
    Check(spill->path() + "/store");
  }
  servers_.clear();
  std::cout << cycles << " kills, " << last_chain_ << " chains filled, " << checked_extents_
            << " durable extents read back\n";
  EXPECT_GT(checked_extents_, 0);
}

}  // namespace
}  // namespace droidspeak
