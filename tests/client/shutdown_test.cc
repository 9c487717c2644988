// SPDX-License-Identifier: Apache-2.0
// SIGTERM under load: what was accepted ends, what was stored is there after a restart.
#include <gtest/gtest.h>

#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "tests/client/client_fixture.h"
#include "tests/support/count.h"

namespace droidspeak {
namespace {

constexpr absl::Duration kPatience = absl::Seconds(60);

class Shutdown : public ClientTest, public testing::WithParamInterface<const char*> {
 protected:
  static constexpr int kBlocks = 64;
  static constexpr uint32_t kChains = 8;  // 36 MiB with E

  FetchOptions WholeFetch(const NamespaceHandle& ns, const Region& region, uint32_t chain) const {
    FetchOptions options =
        ClientTest::WholeFetch(ns, region, kBlocks, chain, uint64_t{chain} * 4 * kBlocks * layout_.kv_bytes());
    options.deadline = kPatience;
    return options;
  }
};

INSTANTIATE_TEST_SUITE_P(Transports, Shutdown, testing::Values("local", "tcp", "ucx"),
                         [](const auto& param) { return std::string(param.param); });

TEST_P(Shutdown, AcceptedFetchesEndAndWhatWasStoredIsThereAgain) {
  const int rounds = Count(2, 20);
  for (int round = 0; round < rounds; ++round) {
    SCOPED_TRACE(testing::Message() << "round " << round);
    const std::string spill = absl::StrCat("--spill=", folder_.path(), "/spill", round);
    const std::vector<std::string> arguments = {std::string("--transport=") + GetParam(), spill};
    addresses_.clear();
    ServerProcess& server = StartServer("a", arguments);
    const auto client = Connect(GetParam());
    ASSERT_NE(client, nullptr);
    const NamespaceHandle ns = Open(*client);
    for (uint32_t chain = 0; chain < kChains; ++chain) StoreAll(*client, ns, Tokens(layout_, kBlocks, chain));
    const auto region = client->AllocateRegion(kChains * 4 * kBlocks * layout_.kv_bytes());
    ASSERT_TRUE(region.ok()) << region.status();
    std::vector<std::unique_ptr<Fetch>> fetches;
    for (uint32_t chain = 0; chain < kChains; ++chain) {
      fetches.push_back(client->StartFetch(ns, WholeFetch(ns, **region, chain)).value());
    }
    const absl::Time deadline = absl::Now() + kPatience;
    for (const auto& fetch : fetches) ASSERT_EQ(fetch->AcceptedBlocks(deadline), kBlocks);
    const absl::Time before = absl::Now();
    int exit_code = -1;
    std::thread ending([&] { exit_code = server.Terminate(); });
    for (const auto& fetch : fetches) {
      for (int layer = 0; layer < 4; ++layer) EXPECT_EQ(fetch->Wait(layer, kBlocks, deadline), kBlocks);
    }
    ending.join();
    EXPECT_EQ(exit_code, 0);
    EXPECT_LT(absl::Now() - before, absl::Seconds(30)) << "beyond the grace time, and what it takes to spill";
    fetches.clear();

    addresses_.clear();
    StartServer("a", arguments);
    const auto later = Connect(GetParam());
    ASSERT_NE(later, nullptr);
    const NamespaceHandle there = Open(*later);
    EXPECT_EQ(there.bytes, ns.bytes);
    std::vector<std::byte> kv(kBlocks * layout_.kv_bytes());
    for (uint32_t chain = 0; chain < kChains; ++chain) {
      for (int layer = 0; layer < 4; ++layer) {
        ASSERT_EQ(*later->FetchKv(there, Tokens(layout_, kBlocks, chain), layer, absl::MakeSpan(kv)), kBlocks);
        ASSERT_EQ(kv, Stored(Kind::kKv, layer, kBlocks)) << "chain " << chain << ", layer " << layer;
      }
    }
  }
}

}  // namespace
}  // namespace droidspeak
