// SPDX-License-Identifier: Apache-2.0
// The client against several real servers.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdio>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/key/placement.h"
#include "tests/client/client_fixture.h"
#include "tests/support/http_get.h"

namespace droidspeak {
namespace {

using testing::HasSubstr;

constexpr int kBlocks = 6 * kStripeBlocks;

class Cluster : public ClientTest {
 protected:
  void SetUp() override {
    StartServer("cache-0");
    StartServer("cache-1");
    tokens_ = Tokens(layout_, kBlocks);
  }
  // The home of each block, as data-model.md places stripes.
  std::vector<size_t> Homes(const NamespaceHandle& ns) const {
    const std::vector<Digest> hashes = BlockHashes(ns.bytes, tokens_, layout_.block_tokens);
    const std::vector<std::string> names = {"cache-0", "cache-1"};
    std::vector<size_t> homes;
    for (int i = 0; i < kBlocks; ++i) homes.push_back(PlacementOrder(hashes[StripeStart(i)], names).front());
    return homes;
  }
  std::vector<uint32_t> tokens_;
};

TEST_F(Cluster, ContextSpreadOverTwoServersComesBackWhole) {
  const auto client = Connect();
  ASSERT_NE(client, nullptr);
  EXPECT_EQ(client->live_servers(), 2);
  const NamespaceHandle ns = Open(*client);
  StoreAll(*client, ns, tokens_);
  std::vector<std::byte> kv(kBlocks * layout_.kv_bytes());
  EXPECT_EQ(*client->FetchKv(ns, tokens_, 2, absl::MakeSpan(kv)), kBlocks);
  EXPECT_EQ(kv, Stored(Kind::kKv, 2, kBlocks));
  const std::vector<size_t> homes = Homes(ns);
  EXPECT_THAT(homes, testing::Contains(0u));
  EXPECT_THAT(homes, testing::Contains(1u));
}

TEST_F(Cluster, DeadServersStripesAreMissesAndTheOthersStay) {
  const auto client = Connect();
  ASSERT_NE(client, nullptr);
  const NamespaceHandle ns = Open(*client);
  StoreAll(*client, ns, tokens_);
  servers_[1]->Kill();
  const std::vector<size_t> homes = Homes(ns);
  const std::vector<Digest> hashes = BlockHashes(ns.bytes, tokens_, layout_.block_tokens);
  const std::vector<BlockCoverage> coverage = client->Coverage(ns, hashes);
  for (int i = 0; i < kBlocks; ++i) EXPECT_EQ(coverage[i].kv[0], homes[i] == 0 ? 0b1111u : 0u) << "block " << i;
}

TEST_F(Cluster, ServerThatComesBackIsUsedAgain) {
  const auto client = Connect();
  ASSERT_NE(client, nullptr);
  const NamespaceHandle ns = Open(*client);
  const std::string address = servers_[1]->listen();
  servers_[1]->Kill();
  addresses_.clear();
  StartServer("cache-1", {"--listen=" + address});
  const absl::Time limit = absl::Now() + absl::Seconds(30);
  std::vector<std::byte> kv(kBlocks * layout_.kv_bytes());
  int good = 0;
  while (good < kBlocks && absl::Now() < limit) {  // each round asks real servers: no bare spinning
    (void)client->StoreKv(ns, tokens_, 0, Stored(Kind::kKv, 0, kBlocks));
    good = *client->FetchKv(ns, tokens_, 0, absl::MakeSpan(kv));
  }
  EXPECT_EQ(good, kBlocks);
  EXPECT_EQ(client->live_servers(), 2);
}

TEST_F(Cluster, AnotherClusterSecretIsRefused) {
  const std::string other = folder_.path() + "/other";
  FILE* const file = fopen(other.c_str(), "w");
  fputs("ffffffffffffffffffffffffffffffff", file);
  fclose(file);
  ASSERT_EQ(chmod(other.c_str(), 0600), 0);
  auto stranger = ServerProcess::Start("cache-2", {"--host-pool=16MiB", "--cluster-secret-file=" + other});
  ASSERT_TRUE(stranger.ok()) << stranger.status();
  ClientOptions options;
  options.servers = addresses_;
  options.servers.push_back({"cache-2", (*stranger)->listen()});
  const auto client = Client::Connect(options);
  EXPECT_TRUE(absl::IsFailedPrecondition(client.status())) << client.status();
  EXPECT_THAT(std::string(client.status().message()), HasSubstr("cluster secret"));
}

TEST_F(Cluster, AnotherNameIsRefused) {
  ClientOptions options;
  options.servers = {{"cache-9", servers_[0]->listen()}};
  const auto client = Client::Connect(options);
  EXPECT_TRUE(absl::IsFailedPrecondition(client.status())) << client.status();
  EXPECT_THAT(std::string(client.status().message()), HasSubstr("calls itself 'cache-0'; expected 'cache-9'"));
  EXPECT_EQ(MetricOf(servers_[0]->admin(), "droidspeak_sessions"), 0) << "what can't be used is given back";
}

TEST_F(Cluster, UnreachableServerIsNamedWhenThereIsNoOther) {
  const std::string address = servers_[0]->listen();
  servers_[0]->Kill();
  ClientOptions options;
  options.servers = {{"cache-0", address}};
  options.connect_timeout = absl::Seconds(1);
  const auto client = Client::Connect(options);
  EXPECT_TRUE(absl::IsUnavailable(client.status())) << client.status();
  EXPECT_THAT(std::string(client.status().message()), HasSubstr(address));
}

}  // namespace
}  // namespace droidspeak
