// SPDX-License-Identifier: Apache-2.0
// A server that is stopped in the middle of a fetch and goes on later: it never writes to memory given to others.
#include <gtest/gtest.h>
#include <signal.h>

#include <random>

#include "absl/time/clock.h"
#include "tests/client/client_fixture.h"
#include "tests/support/count.h"

namespace droidspeak {
namespace {

constexpr std::byte kMine{0x5a};
constexpr absl::Duration kPatience = absl::Seconds(60);

class LateWrites : public ClientTest, public testing::WithParamInterface<const char*> {
 protected:
  static constexpr int kBlocks = 64;

  std::unique_ptr<Client> ConnectImpatiently() {
    ClientOptions options;
    options.servers = addresses_;
    options.transport = GetParam();
    options.request_timeout = absl::Milliseconds(300);  // how long a fetch that is given up waits for its proof
    options.connect_timeout = kPatience;
    auto client = Client::Connect(options);
    EXPECT_TRUE(client.ok()) << client.status();
    return client.ok() ? *std::move(client) : nullptr;
  }
  FetchOptions WholeFetch(const NamespaceHandle& ns, const Region& region) const {
    FetchOptions options = ClientTest::WholeFetch(ns, region, kBlocks);
    options.deadline = kPatience;
    return options;
  }
  // Fetches everything into `region`, over a new connection if need be.
  void FetchAndCheck(Client& client, const NamespaceHandle& ns, const Region& region) {
    const absl::Time deadline = absl::Now() + kPatience;
    int arrived = 0;
    while (arrived < kBlocks && absl::Now() < deadline) {
      const auto fetch = client.StartFetch(ns, WholeFetch(ns, region));
      ASSERT_TRUE(fetch.ok()) << fetch.status();
      arrived = (*fetch)->Wait(3, kBlocks, deadline);
      if (arrived == kBlocks) {
        for (int layer = 0; layer < 4; ++layer) ASSERT_EQ((*fetch)->Wait(layer, kBlocks, deadline), kBlocks);
      }
    }
    ASSERT_EQ(arrived, kBlocks);
    for (int layer = 0; layer < 4; ++layer) {
      const std::vector<std::byte> want = Stored(Kind::kKv, layer, kBlocks);
      ASSERT_TRUE(std::equal(want.begin(), want.end(), region.data() + layer * want.size())) << "layer " << layer;
    }
  }
  static bool Untouched(const Region& region) {
    return std::all_of(region.data(), region.data() + region.bytes(), [](std::byte byte) { return byte == kMine; });
  }
};

// Not ucx: its TCP ends the server's process when a peer closes in the middle of a put (UCX 1.13.1).
INSTANTIATE_TEST_SUITE_P(Transports, LateWrites, testing::Values("local", "tcp"),
                         [](const auto& param) { return std::string(param.param); });

TEST_P(LateWrites, SlotsOfAGivenUpFetchStayQuarantinedUntilItsEndIsProven) {
  const ServerProcess& server = StartServer("a", {std::string("--transport=") + GetParam()});
  const auto client = ConnectImpatiently();
  ASSERT_NE(client, nullptr);
  const NamespaceHandle ns = Open(*client);
  StoreAll(*client, ns, Tokens(layout_, kBlocks));
  auto others = client->AllocateRegion(4 << 20);
  ASSERT_TRUE(others.ok()) << others.status();
  const int rounds = Count(8, 80);
  const uint64_t seed = Seed();
  std::mt19937_64 random(seed);
  int proven_while_stopped = 0;
  for (int round = 0; round < rounds; ++round) {
    SCOPED_TRACE(testing::Message() << "round " << round << " of seed " << seed);
    auto region = client->AllocateRegion(4 << 20);
    ASSERT_TRUE(region.ok()) << region.status();
    {
      const auto fetch = client->StartFetch(ns, WholeFetch(ns, **region));
      ASSERT_TRUE(fetch.ok()) << fetch.status();
      // Stopped after none, some or nearly all of it.
      (void)(*fetch)->Wait(static_cast<int>(random() % 4), static_cast<int>(random() % kBlocks),
                           absl::Now() + absl::Milliseconds(random() % 5));
      server.Suspend();
    }  // given up
    // Its slots are wanted again: refused until its end is proven, else this one's own end must be proven as well
    // before the memory may be somebody else's.
    bool proven = false;
    if (const auto again = client->StartFetch(ns, WholeFetch(ns, **region)); again.ok()) {
      proven = (*again)->Cancel(absl::Now() + absl::Milliseconds(300));
    } else {
      EXPECT_TRUE(absl::IsFailedPrecondition(again.status())) << again.status();
    }
    if (proven) {
      ++proven_while_stopped;
    } else {
      // The memory itself may be had back: it is withdrawn first. What is there next is another's.
      region->reset();
      region = client->AllocateRegion(4 << 20);
      ASSERT_TRUE(region.ok()) << region.status();
    }
    std::fill_n((*region)->data(), (*region)->bytes(), kMine);
    server.Signal(SIGCONT);
    FetchAndCheck(*client, ns, **others);  // the server has gone on, past what it was doing
    EXPECT_TRUE(Untouched(**region)) << "a late write";
    if (HasFailure()) return;
  }
  std::cout << proven_while_stopped << " of " << rounds << " were proven while the server was stopped\n";
}

}  // namespace
}  // namespace droidspeak
