// SPDX-License-Identifier: Apache-2.0
// Servers that die or stop in the middle of a fetch.
#include <gtest/gtest.h>
#include <signal.h>

#include "absl/time/clock.h"
#include "tests/client/client_fixture.h"

namespace droidspeak {
namespace {

class Faults : public ClientTest, public testing::WithParamInterface<const char*> {
 protected:
  static constexpr int kBlocks = 64;

  FetchOptions WholeFetch(const NamespaceHandle& ns, const Region& region) {
    return ClientTest::WholeFetch(ns, region, kBlocks);
  }
};

INSTANTIATE_TEST_SUITE_P(Transports, Faults, testing::Values("local", "tcp", "ucx"),
                         [](const auto& param) { return std::string(param.param); });

TEST_P(Faults, KilledServerEndsTheWaitAndWhatArrivedIsGood) {
  StartServer("a", {std::string("--transport=") + GetParam()});
  const auto client = Connect(GetParam());
  ASSERT_NE(client, nullptr);
  const NamespaceHandle ns = Open(*client);
  StoreAll(*client, ns, Tokens(layout_, kBlocks));
  const auto region = client->AllocateRegion(8 << 20);
  auto fetch = client->StartFetch(ns, WholeFetch(ns, **region));
  ASSERT_TRUE(fetch.ok()) << fetch.status();
  servers_[0]->Kill();
  const absl::Time before = absl::Now();
  int good[4];
  for (int item = 0; item < 4; ++item) good[item] = (*fetch)->Wait(item, kBlocks, before + absl::Seconds(30));
  EXPECT_LT(absl::Now() - before, absl::Seconds(10)) << "a lost connection fails its requests at once";
  for (int item = 0; item < 4; ++item) {
    const std::vector<std::byte> want = Stored(Kind::kKv, item, kBlocks);
    const std::byte* const got = (*region)->data() + item * kBlocks * layout_.kv_bytes();
    EXPECT_TRUE(std::equal(got, got + good[item] * layout_.kv_bytes(), want.begin())) << "item " << item;
  }
  EXPECT_TRUE((*fetch)->Cancel(absl::Now() + absl::Seconds(10))) << "a dead process writes no more";
}

// The server is stopped with a fetch under way, the fetch given up, its memory wanted again, and the server resumed.
TEST_P(Faults, StoppedServerNeverWritesToMemoryGivenToAnotherFetch) {
  StartServer("a", {std::string("--transport=") + GetParam()});
  const auto client = Connect(GetParam());
  ASSERT_NE(client, nullptr);
  const NamespaceHandle ns = Open(*client);
  StoreAll(*client, ns, Tokens(layout_, kBlocks));
  const auto region = client->AllocateRegion(8 << 20);
  servers_[0]->Suspend();
  {
    const auto fetch = client->StartFetch(ns, WholeFetch(ns, **region));
    ASSERT_TRUE(fetch.ok()) << fetch.status();
    EXPECT_EQ((*fetch)->Wait(0, kBlocks, absl::Now() + absl::Milliseconds(100)), 0);
    EXPECT_FALSE((*fetch)->Cancel(absl::Now() + absl::Milliseconds(100))) << "nobody can have confirmed";
  }
  const auto again = client->StartFetch(ns, WholeFetch(ns, **region));
  if (again.ok()) {
    // The transport proved that the connection is gone: the destinations are free, and stay untouched.
    std::fill_n((*region)->data(), (*region)->bytes(), std::byte{0x5a});
    servers_[0]->Signal(SIGCONT);
    (void)(*again)->Wait(3, kBlocks, absl::Now() + absl::Seconds(1));
    EXPECT_TRUE(std::all_of((*region)->data(), (*region)->data() + (*region)->bytes(),
                            [](std::byte byte) { return byte == std::byte{0x5a}; }));
  } else {
    EXPECT_TRUE(absl::IsFailedPrecondition(again.status())) << again.status();
    servers_[0]->Signal(SIGCONT);
  }
}

}  // namespace
}  // namespace droidspeak
