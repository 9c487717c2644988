// SPDX-License-Identifier: Apache-2.0
#include "common/key/placement.h"

#include <set>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace droidspeak {
namespace {

using ::testing::ElementsAre;

const std::vector<std::string> kServers = {"cache-0", "cache-1", "cache-2", "cache-3"};

Digest Key(std::string_view hex) {
  return Digest::FromHex(hex).value();
}

TEST(Placement, OrderOfServersEqualsTheVectors) {
  EXPECT_THAT(PlacementOrder(Key("761a0ca15a1f39d3186589741b1e8dc2c0f5085ce7df1a7d462f93673791595a"), kServers),
              ElementsAre(3, 2, 0, 1));
  EXPECT_THAT(PlacementOrder(Key("f1e0c5d426c23e0ece84bbad0cedea9c45c2252b113b07f451b585aba77540a6"), kServers),
              ElementsAre(2, 3, 0, 1));
}

TEST(Placement, OrderDoesNotDependOnHowServersAreListed) {
  const std::vector<std::string> reversed(kServers.rbegin(), kServers.rend());
  for (int i = 0; i < 100; ++i) {
    const Digest key = Sha256Of(std::to_string(i));
    EXPECT_EQ(kServers[PlacementOrder(key, kServers)[0]], reversed[PlacementOrder(key, reversed)[0]]);
  }
}

TEST(Placement, ALeavingServerMovesOnlyItsOwnStripesAndToTheNextInOrder) {
  const std::vector<std::string> left = {"cache-0", "cache-1", "cache-3"};
  std::set<std::string> homes;
  for (int i = 0; i < 200; ++i) {
    const Digest key = Sha256Of(std::to_string(i));
    const std::vector<size_t> order = PlacementOrder(key, kServers);
    const std::string& expected = kServers[order[0]] == "cache-2" ? kServers[order[1]] : kServers[order[0]];
    EXPECT_EQ(left[PlacementOrder(key, left)[0]], expected);
    homes.insert(kServers[order[0]]);
  }
  EXPECT_EQ(homes.size(), 4) << "stripes spread over all servers";
}

TEST(Placement, NoServersGiveNoOrder) {
  EXPECT_TRUE(PlacementOrder(Digest{}, {}).empty());
}

TEST(Placement, AStripeIsSixteenBlocks) {
  EXPECT_EQ(StripeStart(0), 0);
  EXPECT_EQ(StripeStart(15), 0);
  EXPECT_EQ(StripeStart(16), 16);
  EXPECT_EQ(StripeStart(47), 32);
}

}  // namespace
}  // namespace droidspeak
