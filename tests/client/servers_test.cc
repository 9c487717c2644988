// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "droidspeak/client.h"

namespace droidspeak {
namespace {

using testing::HasSubstr;

TEST(ParseServers, ReadsNamesAndAddresses) {
  const auto servers = ParseServers("cache-0=127.0.0.1:7000,cache-1=[::1]:7001");
  ASSERT_TRUE(servers.ok()) << servers.status();
  ASSERT_EQ(servers->size(), 2u);
  EXPECT_EQ((*servers)[0].name, "cache-0");
  EXPECT_EQ((*servers)[1].host_port, "[::1]:7001");
}

TEST(ParseServers, OneServerNeedsNoName) {
  const auto servers = ParseServers("localhost:7000");
  ASSERT_TRUE(servers.ok()) << servers.status();
  EXPECT_EQ((*servers)[0].name, "");
}

TEST(ParseServers, WrongListsAreRefusedNamingThePart) {
  const std::pair<const char*, const char*> cases[] = {
      {"", "servers: ''"},
      {"a=127.0.0.1:1,127.0.0.1:2", "127.0.0.1:2"},
      {"a=127.0.0.1:1,a=127.0.0.1:2", "'a' stands twice"},
      {"=127.0.0.1:1", "no name"},
      {"a=127.0.0.1", "a=127.0.0.1"},
      {"a=127.0.0.1:99999", "99999"},
      {"a=127.0.0.1:1,,b=127.0.0.1:2", "servers: ''"},
  };
  for (const auto& [list, culprit] : cases) {
    const auto servers = ParseServers(list);
    ASSERT_FALSE(servers.ok()) << list;
    EXPECT_TRUE(absl::IsInvalidArgument(servers.status())) << list;
    EXPECT_THAT(std::string(servers.status().message()), HasSubstr(culprit)) << list;
  }
}

}  // namespace
}  // namespace droidspeak
