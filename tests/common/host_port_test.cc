// SPDX-License-Identifier: Apache-2.0
#include "common/base/host_port.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace droidspeak {
namespace {

TEST(HostPort, IsReadAndWrittenBack) {
  for (const char* text : {"cache-0.local:7400", "127.0.0.1:0", "[::1]:65535"}) {
    EXPECT_EQ(HostPort::Parse(text).value().ToString(), text);
  }
  EXPECT_EQ(HostPort::Parse("[::1]:80").value().host, "::1");
}

TEST(HostPort, OtherTextIsRefusedNamingIt) {
  for (const char* text :
       {"", "host", ":80", "host:", "host:65536", "host:-1", "host:+1", "host: 1", "::1:80", "host:8x"}) {
    EXPECT_FALSE(HostPort::Parse(text).ok()) << text;
  }
  EXPECT_THAT(HostPort::Parse("host").status().message(), ::testing::HasSubstr("'host' is no address"));
}

TEST(HostPort, LoopbackIsWhatOnlyThisHostReaches) {
  for (const char* host : {"127.0.0.1", "127.9.9.9", "localhost", "::1"}) EXPECT_TRUE((HostPort{host, 1}.IsLoopback()));
  for (const char* host :
       {"0.0.0.0", "::", "10.0.0.1", "128.0.0.1", "127.0.0.1.example.org", "localhost.example.org"}) {
    EXPECT_FALSE((HostPort{host, 1}.IsLoopback())) << host;
  }
}

}  // namespace
}  // namespace droidspeak
