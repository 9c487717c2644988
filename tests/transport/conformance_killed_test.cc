// SPDX-License-Identifier: Apache-2.0
// The contract of transport.h as a program, for transports between processes: a peer that is killed.
#include <gtest/gtest.h>

#include <string>

#include "absl/time/clock.h"
#include "tests/transport/peers.h"

namespace droidspeak {
namespace {

INSTANTIATE_TEST_SUITE_P(, TransportTest, TRANSPORTS, [](const auto& info) { return info.param; });

TEST_P(TransportTest, AClientKilledInTheMiddleOfPushesIsNoticed) {
  for (int round = 0; round < 3; ++round) {
    server_ = Recorder();
    accepted_.clear();
    PeerProcess peer({"client", GetParam(), address_});
    ASSERT_TRUE(RunUntil([&] { return server_.messages.size() == 1; }));
    uint64_t next = 0;
    const auto push = [&] { return accepted_[0]->Push(server_arena_->base(), {1, 0, 1 << 20}, next); };
    while (next < 20) {
      ASSERT_TRUE(push().ok());
      ++next;
      ASSERT_TRUE(RunUntil([&] { return server_.done.size() + 4 > next; }));
    }
    peer.Kill();
    // Goes on until the transport refuses: a push may still be taken before the death is seen.
    while (!server_.closed) {
      if (push().ok()) ++next;
      server_worker_->Progress();
      ASSERT_TRUE(RunUntil([&] { return server_.closed || server_.done.size() + 4 > next; }));
    }
    EXPECT_EQ(server_.closed->code(), absl::StatusCode::kUnavailable) << *server_.closed;
    EXPECT_EQ(server_.done.size(), next);
  }
}

TEST_P(TransportTest, AServerKilledInTheMiddleOfPushesIsNoticed) {
  const std::string address = GetParam() == "local" ? ListenAddress() + ".peer" : ListenAddress();
  PeerProcess peer({"server", GetParam(), address});
  address_ = peer.ReadLine();
  auto connected = client_worker_->Connect(address_, &client_);
  ASSERT_TRUE(connected.ok()) << connected.status();
  connection_ = *std::move(connected);
  ASSERT_TRUE(connection_->AnnounceRegion(1, ClientRegion()).ok());
  ASSERT_TRUE(connection_->Send(BytesOf("push")).ok());
  ASSERT_TRUE(RunUntil([&] { return client_.messages.size() > 20; }));
  peer.Kill();
  ASSERT_TRUE(RunUntil([&] { return client_.closed.has_value(); }));
  EXPECT_EQ(client_.closed->code(), absl::StatusCode::kUnavailable) << *client_.closed;
}

TEST_P(TransportTest, AnIdlePeerKilledIsNoticedAtOnce) {
  PeerProcess peer({"client", GetParam(), address_});
  ASSERT_TRUE(RunUntil([&] { return server_.messages.size() == 1; }));
  peer.Kill();
  const absl::Time killed = absl::Now();
  ASSERT_TRUE(RunUntil([&] { return server_.closed.has_value(); }));
  EXPECT_LT(absl::Now() - killed, absl::Seconds(5));
  EXPECT_EQ(server_.closed->code(), absl::StatusCode::kUnavailable) << *server_.closed;
}

}  // namespace
}  // namespace droidspeak
