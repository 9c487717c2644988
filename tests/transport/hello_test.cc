// SPDX-License-Identifier: Apache-2.0
#include "common/transport/hello.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

namespace droidspeak {
namespace {

using Bytes = std::vector<std::byte>;

SessionKey Key(uint8_t byte) {
  SessionKey key;
  key.fill(byte);
  return key;
}

ServerHandshake::FindKey OneSession(uint64_t id, SessionKey key) {
  return [id, key](uint64_t asked) -> absl::StatusOr<SessionKey> {
    if (asked != id) return absl::NotFoundError("no such session");
    return key;
  };
}

TEST(HelloTest, BothEndsEndUpDoneWithTheSameKey) {
  ClientHandshake client(77, 3, Key(1));
  ServerHandshake server(OneSession(77, Key(1)));
  const auto hello = server.Next(client.Start());
  ASSERT_TRUE(hello.ok()) << hello.status();
  const auto proof = client.Next(*hello);
  ASSERT_TRUE(proof.ok()) << proof.status();
  EXPECT_FALSE(server.done());
  const auto done = server.Next(*proof);
  ASSERT_TRUE(done.ok()) << done.status();
  EXPECT_TRUE(server.done());
  EXPECT_FALSE(client.done());
  const auto nothing = client.Next(*done);
  ASSERT_TRUE(nothing.ok()) << nothing.status();
  EXPECT_TRUE(nothing->empty());
  EXPECT_TRUE(client.done());
  EXPECT_EQ(server.session_id(), 77u);
  EXPECT_EQ(server.connection(), 3u);
}

TEST(HelloTest, ClientRefusesAServerWithAnotherKey) {
  ClientHandshake client(77, 0, Key(1));
  ServerHandshake server(OneSession(77, Key(2)));
  const auto hello = server.Next(client.Start());
  ASSERT_TRUE(hello.ok());
  EXPECT_EQ(client.Next(*hello).status().code(), absl::StatusCode::kUnauthenticated);
  EXPECT_FALSE(client.done());
}

TEST(HelloTest, ServerRefusesAForgedProof) {
  ClientHandshake client(77, 0, Key(1));
  ServerHandshake server(OneSession(77, Key(1)));
  const auto hello = server.Next(client.Start());
  ASSERT_TRUE(hello.ok());
  auto proof = client.Next(*hello);
  ASSERT_TRUE(proof.ok());
  proof->back() ^= std::byte{1};
  EXPECT_EQ(server.Next(*proof).status().code(), absl::StatusCode::kUnauthenticated);
  EXPECT_FALSE(server.done());
}

TEST(HelloTest, ServersOwnProofReflectedIsRefused) {
  ClientHandshake client(77, 0, Key(1));
  ServerHandshake server(OneSession(77, Key(1)));
  const auto hello = server.Next(client.Start());
  ASSERT_TRUE(hello.ok());
  const auto message = wire::Decode(*hello);
  ASSERT_TRUE(message.ok());
  const Bytes reflected = wire::Encode(wire::ClientProof{std::get<wire::ServerHello>(*message).mac});
  EXPECT_EQ(server.Next(reflected).status().code(), absl::StatusCode::kUnauthenticated);
}

TEST(HelloTest, ReplayedProofOfAnotherConnectionIsRefused) {
  ClientHandshake client(77, 0, Key(1));
  ServerHandshake first(OneSession(77, Key(1)));
  const auto hello = first.Next(client.Start());
  ASSERT_TRUE(hello.ok());
  const auto proof = client.Next(*hello);
  ASSERT_TRUE(proof.ok());
  ServerHandshake second(OneSession(77, Key(1)));
  ASSERT_TRUE(second.Next(client.Start()).ok());
  EXPECT_EQ(second.Next(*proof).status().code(), absl::StatusCode::kUnauthenticated);
}

TEST(HelloTest, UnknownSessionGetsAnAnswerButNeverPasses) {
  ClientHandshake client(78, 0, Key(1));
  ServerHandshake server(OneSession(77, Key(1)));
  const auto hello = server.Next(client.Start());
  ASSERT_TRUE(hello.ok());
  EXPECT_FALSE(client.Next(*hello).ok());
  EXPECT_EQ(server.Next(wire::Encode(wire::ClientProof{})).status().code(), absl::StatusCode::kUnauthenticated);
}

TEST(HelloTest, AnythingElseThanTheExpectedMessageEndsIt) {
  for (const Bytes& message : {wire::Encode(wire::ClientProof{}), wire::Encode(wire::CancelRequest{1}), Bytes{},
                               Bytes(72, std::byte{0xff}), Bytes(1000)}) {
    ServerHandshake server(OneSession(77, Key(1)));
    EXPECT_EQ(server.Next(message).status().code(), absl::StatusCode::kInvalidArgument);
    ClientHandshake good(77, 0, Key(1));
    EXPECT_FALSE(server.Next(good.Start()).ok()) << "a failed hello must stay failed";
    ClientHandshake client(77, 0, Key(1));
    EXPECT_EQ(client.Next(message).status().code(), absl::StatusCode::kInvalidArgument);
  }
}

TEST(HelloTest, AnotherVersionIsNamed) {
  ClientHandshake client(77, 0, Key(1));
  Bytes hello = client.Start();
  hello[4] = std::byte{9};
  ServerHandshake server(OneSession(77, Key(1)));
  EXPECT_THAT(server.Next(hello).status().ToString(), testing::HasSubstr("version 9"));
}

}  // namespace
}  // namespace droidspeak
