// SPDX-License-Identifier: Apache-2.0
// The contract of transport.h as a program: how connections end. What the Recorder checks all along: nothing is told
// after OnClosed, no token twice. conformance_killed_test.cc has peers that are killed.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <string>

#include "absl/strings/str_cat.h"
#include "tests/transport/peers.h"

namespace droidspeak {
namespace {

INSTANTIATE_TEST_SUITE_P(, TransportTest, TRANSPORTS, [](const auto& info) { return info.param; });

constexpr uint64_t kTransferBytes = 1 << 20;

TEST_P(TransportTest, ClosingByTheClientEndsBothEnds) {
  ASSERT_NO_FATAL_FAILURE(ConnectWithRegion());
  connection_->Close();
  connection_->Close();
  EXPECT_FALSE(client_.closed.has_value()) << "OnClosed within Close()";
  EXPECT_EQ(connection_->Send(BytesOf("x")).code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(connection_->AnnounceRegion(2, ClientRegion()).code(), absl::StatusCode::kUnavailable);
  ASSERT_TRUE(RunUntil([&] { return client_.closed && server_.closed; }));
  EXPECT_EQ(server_.closed->code(), absl::StatusCode::kUnavailable) << *server_.closed;
  EXPECT_EQ(accepted_[0]->Send(BytesOf("x")).code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(accepted_[0]->Push(server_arena_->base(), {1, 0, 1}, 1).code(), absl::StatusCode::kUnavailable);
}

TEST_P(TransportTest, ClosingByTheServerEndsBothEnds) {
  ASSERT_NO_FATAL_FAILURE(ConnectWithRegion());
  accepted_[0]->Close();
  ASSERT_TRUE(RunUntil([&] { return client_.closed && server_.closed; }));
  EXPECT_EQ(client_.closed->code(), absl::StatusCode::kUnavailable) << *client_.closed;
  EXPECT_EQ(connection_->Send(BytesOf("x")).code(), absl::StatusCode::kUnavailable);
}

TEST_P(TransportTest, ClosingFromWithinAHandlerWorks) {
  ASSERT_NO_FATAL_FAILURE(ConnectBoth());
  server_.on_message = [](Connection& connection, const std::string&) { connection.Close(); };
  ASSERT_TRUE(connection_->Send(BytesOf("one")).ok());
  ASSERT_TRUE(connection_->Send(BytesOf("two")).ok());
  ASSERT_TRUE(RunUntil([&] { return client_.closed && server_.closed; }));
  EXPECT_THAT(server_.messages, testing::ElementsAre("one"));
}

TEST_P(TransportTest, ClosingAtATransfersEndReportsWhatWasPostedJustBefore) {
  ASSERT_NO_FATAL_FAILURE(ConnectWithRegion());
  server_.on_done = [this](Connection& connection, uint64_t token) {
    if (token != 1) return;
    for (uint64_t next : {2, 3}) EXPECT_TRUE(connection.Push(server_arena_->base(), {1, 0, 100}, next).ok());
    EXPECT_TRUE(connection.Pull(server_arena_->base() + 4096, {1, 0, 100}, 4).ok());
    connection.Close();
  };
  ASSERT_TRUE(accepted_[0]->Push(server_arena_->base(), {1, 0, 100}, 1).ok());
  ASSERT_TRUE(RunUntil([&] { return server_.closed.has_value(); }));
  EXPECT_EQ(server_.done.size(), 4u);
}

TEST_P(TransportTest, ClosingWithTransfersUnderWayReportsEachOfThem) {
  for (const bool by_server : {true, false}) {
    server_ = Recorder();
    client_ = Recorder();
    accepted_.clear();
    ASSERT_NO_FATAL_FAILURE(ConnectWithRegion());
    for (uint64_t i = 0; i < 8; ++i) {
      std::byte* const memory = server_arena_->base() + i * kTransferBytes;
      ASSERT_TRUE(accepted_[0]->Push(memory, {1, i * kTransferBytes, kTransferBytes}, 2 * i).ok());
      ASSERT_TRUE(accepted_[0]->Pull(memory + 8 * kTransferBytes, {1, 0, kTransferBytes}, 2 * i + 1).ok());
    }
    server_worker_->Progress();
    (by_server ? accepted_[0] : connection_)->Close();
    ASSERT_TRUE(RunUntil([&] { return client_.closed && server_.closed; }));
    EXPECT_EQ(server_.done.size(), 16u) << (by_server ? "server closed" : "client closed");
  }
}

// After OnClosed at either end no transfer touches that end's memory.
TEST_P(TransportTest, MemoryIsQuietAfterOnClosed) {
  for (int round = 0; round < 20; ++round) {
    server_ = Recorder();
    client_ = Recorder();
    accepted_.clear();
    ASSERT_NO_FATAL_FAILURE(ConnectWithRegion());
    std::memset(server_arena_->base(), 0x11, kArenaBytes);
    for (uint64_t i = 0; i < 8; ++i) {
      const RemoteRange range{1, i * kTransferBytes, kTransferBytes};
      ASSERT_TRUE(accepted_[0]->Push(server_arena_->base() + range.offset, range, i).ok());
    }
    for (int i = 0; i < round; ++i) {
      server_worker_->Progress();
      client_worker_->Progress();
    }
    connection_->Close();
    ASSERT_TRUE(RunUntil([&] { return client_.closed.has_value(); }));
    std::memset(client_arena_->base(), 0x22, kArenaBytes);
    ASSERT_TRUE(RunUntil([&] { return server_.closed.has_value(); }));
    const std::string expected(kArenaBytes, 0x22);
    EXPECT_EQ(std::memcmp(client_arena_->base(), expected.data(), kArenaBytes), 0) << "a late byte, round " << round;
  }
}

TEST_P(TransportTest, DestroyingAnOpenConnectionTellsThePeer) {
  ASSERT_NO_FATAL_FAILURE(ConnectWithRegion());
  connection_.reset();
  ASSERT_TRUE(RunUntil([&] { return server_.closed.has_value(); }));
  EXPECT_FALSE(client_.closed.has_value()) << "destroyed without events";
  server_ = Recorder();
  accepted_.clear();
  ASSERT_NO_FATAL_FAILURE(ConnectWithRegion());
  ASSERT_TRUE(accepted_[0]->Pull(server_arena_->base(), {1, 0, 4 << 20}, 1).ok());
  accepted_.clear();
  ASSERT_TRUE(RunUntil([&] { return client_.closed.has_value(); }));
  EXPECT_TRUE(server_.done.empty()) << "destroyed without events";
}

TEST_P(TransportTest, AHandlerMayDestroyAnotherConnection) {
  ASSERT_NO_FATAL_FAILURE(ConnectWithRegion());
  Recorder other_client;
  Recorder other_server;
  accept_events_ = [&] { return &other_server; };
  auto other = client_worker_->Connect(address_, &other_client);
  ASSERT_TRUE(other.ok());
  ASSERT_TRUE(RunUntil([&] { return accepted_.size() == 2; }));
  other_server.on_message = [&](Connection&, const std::string&) { accepted_[0].reset(); };
  ASSERT_TRUE(accepted_[0]->Push(server_arena_->base(), {1, 0, 4 << 20}, 1).ok());
  ASSERT_TRUE(connection_->Send(BytesOf("to the one that goes")).ok());
  ASSERT_TRUE((*other)->Send(BytesOf("destroy it")).ok());
  ASSERT_TRUE(RunUntil([&] { return client_.closed.has_value(); }));
  ASSERT_TRUE(accepted_[1]->Send(BytesOf("still here")).ok());
  ASSERT_TRUE(RunUntil([&] { return other_client.messages.size() == 1; }));
  other->reset();
}

TEST_P(TransportTest, ARegionBeforeAuthorizeCutsThePeerOff) {
  authorize_ = false;
  ASSERT_NO_FATAL_FAILURE(ConnectBoth());
  ASSERT_TRUE(connection_->Send(BytesOf("hello")).ok());
  ASSERT_TRUE(RunUntil([&] { return server_.messages.size() == 1; }));
  ASSERT_TRUE(connection_->AnnounceRegion(1, ClientRegion()).ok());
  ASSERT_TRUE(connection_->Send(BytesOf("never told of")).ok());
  ASSERT_TRUE(RunUntil([&] { return client_.closed && server_.closed; }));
  EXPECT_EQ(server_.closed->code(), absl::StatusCode::kPermissionDenied) << *server_.closed;
  EXPECT_THAT(server_.messages, testing::ElementsAre("hello"));
}

TEST_P(TransportTest, ARefusedConnectionIsClosedAtTheClient) {
  refuse_ = true;
  auto connected = client_worker_->Connect(address_, &client_);
  ASSERT_TRUE(connected.ok()) << connected.status();
  ASSERT_TRUE(RunUntil([&] { return client_.closed.has_value(); }));
  EXPECT_EQ(client_.closed->code(), absl::StatusCode::kUnavailable) << *client_.closed;
}

TEST_P(TransportTest, ConnectingToNobodyFails) {
  server_worker_.reset();
  auto created = transport_->CreateWorker();
  ASSERT_TRUE(created.ok());
  server_worker_ = *std::move(created);
  auto connected = client_worker_->Connect(address_, &client_);
  absl::Status why = connected.status();
  if (connected.ok()) {
    ASSERT_TRUE(RunUntil([&] { return client_.closed.has_value(); }));
    why = *client_.closed;
  }
  EXPECT_EQ(why.code(), absl::StatusCode::kUnavailable) << why;
}

TEST_P(TransportTest, AWorkerListensOnceAndNotWhereAnotherDoes) {
  EXPECT_EQ(server_worker_->Listen(ListenAddress(), nullptr).status().code(), absl::StatusCode::kFailedPrecondition);
  const auto taken = client_worker_->Listen(address_, nullptr);
  EXPECT_EQ(taken.status().code(), absl::StatusCode::kAlreadyExists) << taken.status();
  EXPECT_EQ(client_worker_->Connect("no address", &client_).ok(), false);
}

}  // namespace
}  // namespace droidspeak
