// SPDX-License-Identifier: Apache-2.0
// The contract of transport.h as a program, for every transport: messages and transfers. conformance_close_test.cc has
// how connections end.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>

#include <cstring>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/transport/region_table.h"
#include "tests/transport/peers.h"

namespace droidspeak {
namespace {

constexpr size_t kSizes[] = {1, 100, 4 << 10, 8000, 64 << 10, 100'001, 1 << 20, 4 << 20};

INSTANTIATE_TEST_SUITE_P(, TransportTest, TRANSPORTS, [](const auto& info) { return info.param; });

TEST_P(TransportTest, MessagesOfEverySizeArriveWholeAndInOrderBothWays) {
  ASSERT_NO_FATAL_FAILURE(ConnectBoth());
  std::vector<std::string> sent;
  for (int round = 0; round < 3; ++round) {
    for (const size_t bytes : {size_t{1}, size_t{7}, size_t{100}, size_t{4096}, size_t{1}, size_t{8300}, size_t{65536},
                               size_t{2}, size_t{300'000}, size_t{3}, kMaxMessageBytes, size_t{1}}) {
      sent.push_back(Pattern(sent.size(), bytes));
      ASSERT_TRUE(connection_->Send(BytesOf(sent.back())).ok());
      ASSERT_TRUE(accepted_[0]->Send(BytesOf(sent.back())).ok());
    }
  }
  ASSERT_TRUE(
      RunUntil([&] { return server_.messages.size() == sent.size() && client_.messages.size() == sent.size(); }));
  EXPECT_TRUE(server_.messages == sent);
  EXPECT_TRUE(client_.messages == sent);
}

TEST_P(TransportTest, EmptyAndOversizedMessagesAreRefused) {
  ASSERT_NO_FATAL_FAILURE(ConnectBoth());
  EXPECT_EQ(connection_->Send({}).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(connection_->Send(BytesOf(std::string(kMaxMessageBytes + 1, 'x'))).code(),
            absl::StatusCode::kInvalidArgument);
  ASSERT_TRUE(connection_->Send(BytesOf("still open")).ok());
  EXPECT_TRUE(RunUntil([&] { return server_.messages.size() == 1; }));
}

TEST_P(TransportTest, AnswersFromWithinAHandlerArrive) {
  ASSERT_NO_FATAL_FAILURE(ConnectBoth());
  server_.on_message = [](Connection& connection, const std::string& message) {
    EXPECT_TRUE(connection.Send(BytesOf("re: " + message)).ok());
  };
  for (int i = 0; i < 1000; ++i) {
    ASSERT_TRUE(connection_->Send(BytesOf(absl::StrCat(i))).ok());
    ASSERT_TRUE(RunUntil([&] { return client_.messages.size() == static_cast<size_t>(i) + 1; }));
    ASSERT_EQ(client_.messages.back(), absl::StrCat("re: ", i));
  }
}

TEST_P(TransportTest, PushesOfEverySizeLandExactly) {
  ASSERT_NO_FATAL_FAILURE(ConnectWithRegion());
  for (const size_t bytes : kSizes) {
    std::memset(client_arena_->base(), 0xee, kArenaBytes);
    const std::string data = Pattern(bytes, bytes);
    std::memcpy(server_arena_->base() + 3, data.data(), bytes);
    ASSERT_TRUE(accepted_[0]->Push(server_arena_->base() + 3, {1, 1001, bytes}, bytes).ok());
    EXPECT_EQ(server_.done.count(bytes), 0u) << "OnTransferDone within Push()";
    ASSERT_TRUE(accepted_[0]->Send(BytesOf("pushed")).ok());
    ASSERT_TRUE(RunUntil([&] { return client_.messages.size() == 1 && server_.done.count(bytes) == 1; }));
    client_.messages.clear();
    EXPECT_TRUE(server_.done.at(bytes).ok()) << server_.done.at(bytes);
    EXPECT_EQ(std::memcmp(client_arena_->base() + 1001, data.data(), bytes), 0) << bytes;
    EXPECT_EQ(client_arena_->base()[1000], std::byte{0xee});
    EXPECT_EQ(client_arena_->base()[1001 + bytes], std::byte{0xee});
  }
}

TEST_P(TransportTest, PullsOfEverySizeLandExactly) {
  ASSERT_NO_FATAL_FAILURE(ConnectWithRegion());
  for (const size_t bytes : kSizes) {
    std::memset(server_arena_->base(), 0xee, kArenaBytes);
    const std::string data = Pattern(bytes, bytes);
    std::memcpy(client_arena_->base() + 1001, data.data(), bytes);
    ASSERT_TRUE(accepted_[0]->Pull(server_arena_->base() + 3, {1, 1001, bytes}, bytes).ok());
    EXPECT_EQ(server_.done.count(bytes), 0u) << "OnTransferDone within Pull()";
    ASSERT_TRUE(RunUntil([&] { return server_.done.count(bytes) == 1; }));
    EXPECT_TRUE(server_.done.at(bytes).ok()) << server_.done.at(bytes);
    EXPECT_EQ(std::memcmp(server_arena_->base() + 3, data.data(), bytes), 0) << bytes;
    EXPECT_EQ(server_arena_->base()[2], std::byte{0xee});
    EXPECT_EQ(server_arena_->base()[3 + bytes], std::byte{0xee});
  }
}

// Whatever is in flight, and in whichever protocol its size makes a transport choose, a message is not overtaken by the
// pushes before it.
TEST_P(TransportTest, AMessageIsDeliveredAfterThePushesBeforeIt) {
  ASSERT_NO_FATAL_FAILURE(ConnectWithRegion());
  constexpr uint64_t kSlot = 1 << 20;
  constexpr int kRounds = 300;
  const auto bytes_of = [](int round) { return kSizes[round % 7]; };
  client_.on_message = [&](Connection&, const std::string& message) {
    const int round = std::stoi(message);
    const uint64_t slot = round % 16 * kSlot;
    EXPECT_EQ(std::memcmp(client_arena_->base() + slot, server_arena_->base() + slot, bytes_of(round)), 0)
        << "round " << round;
  };
  for (int round = 0; round < kRounds; ++round) {
    // A slot is used again only once the message that follows it was delivered.
    ASSERT_TRUE(RunUntil([&] { return client_.messages.size() + 8 > static_cast<size_t>(round); }));
    const uint64_t slot = round % 16 * kSlot;
    const std::string data = Pattern(round, bytes_of(round));
    std::memcpy(server_arena_->base() + slot, data.data(), data.size());
    ASSERT_TRUE(accepted_[0]->Push(server_arena_->base() + slot, {1, slot, data.size()}, round).ok());
    // Messages of several sizes: small ones could overtake large pushes, large ones small messages.
    std::string message = absl::StrCat(round, " ");
    if (round % 5 == 0) message.resize(200'000, 'm');
    ASSERT_TRUE(accepted_[0]->Send(BytesOf(message)).ok());
  }
  ASSERT_TRUE(RunUntil([&] { return client_.messages.size() == kRounds && server_.done.size() == kRounds; }));
}

TEST_P(TransportTest, ManyTransfersBothWaysAreEachReportedOnce) {
  ASSERT_NO_FATAL_FAILURE(ConnectWithRegion());
  constexpr uint64_t kTransfers = 400;
  constexpr uint64_t kHalf = kArenaBytes / 2;
  const std::string from_server = Pattern(1, kHalf);
  const std::string from_client = Pattern(2, kHalf);
  std::memcpy(server_arena_->base(), from_server.data(), kHalf);
  std::memcpy(client_arena_->base() + kHalf, from_client.data(), kHalf);
  const uint64_t step = kHalf / kTransfers;
  for (uint64_t i = 0; i < kTransfers; ++i) {
    const uint64_t bytes = i % 3 == 0 ? 17 : step;
    ASSERT_TRUE(accepted_[0]->Push(server_arena_->base() + i * step, {1, i * step, bytes}, 2 * i).ok());
    ASSERT_TRUE(
        accepted_[0]->Pull(server_arena_->base() + kHalf + i * step, {1, kHalf + i * step, bytes}, 2 * i + 1).ok());
  }
  ASSERT_TRUE(accepted_[0]->Send(BytesOf("all")).ok());
  ASSERT_TRUE(RunUntil([&] { return server_.done.size() == 2 * kTransfers && client_.messages.size() == 1; }));
  for (uint64_t i = 0; i < kTransfers; ++i) {
    const uint64_t bytes = i % 3 == 0 ? 17 : step;
    EXPECT_EQ(std::memcmp(client_arena_->base() + i * step, from_server.data() + i * step, bytes), 0) << i;
    EXPECT_EQ(std::memcmp(server_arena_->base() + kHalf + i * step, from_client.data() + i * step, bytes), 0) << i;
  }
}

TEST_P(TransportTest, RangesOutsideAnnouncedRegionsAreRefused) {
  ASSERT_NO_FATAL_FAILURE(ConnectWithRegion());
  std::byte* const memory = server_arena_->base();
  const RemoteRange wrong[] = {{2, 0, 1},
                               {0, 0, 1},
                               {1, 0, 0},
                               {1, 0, kArenaBytes + 1},
                               {1, kArenaBytes, 1},
                               {1, kArenaBytes - 1, 2},
                               {1, UINT64_MAX, 2},
                               {1, 2, UINT64_MAX},
                               {UINT32_MAX, UINT64_MAX, UINT64_MAX}};
  for (const RemoteRange& range : wrong) {
    EXPECT_EQ(accepted_[0]->Push(memory, range, 1).code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(accepted_[0]->Pull(memory, range, 1).code(), absl::StatusCode::kInvalidArgument);
  }
  ASSERT_TRUE(accepted_[0]->Push(memory, {1, kArenaBytes - 1, 1}, 7).ok());
  ASSERT_TRUE(RunUntil([&] { return server_.done.count(7) == 1; }));
  EXPECT_EQ(server_.done.size(), 1u);
}

TEST_P(TransportTest, WithdrawnRegionsAreGoneAndTheirNumbersFree) {
  ASSERT_NO_FATAL_FAILURE(ConnectWithRegion());
  ASSERT_EQ(connection_->AnnounceRegion(1, ClientRegion()).code(), absl::StatusCode::kAlreadyExists);
  ASSERT_EQ(connection_->WithdrawRegion(9).code(), absl::StatusCode::kNotFound);
  ASSERT_TRUE(connection_->WithdrawRegion(1).ok());
  ASSERT_TRUE(connection_->Send(BytesOf("withdrawn")).ok());
  ASSERT_TRUE(RunUntil([&] { return server_.messages.size() == 1; }));
  EXPECT_EQ(accepted_[0]->Push(server_arena_->base(), {1, 0, 1}, 1).code(), absl::StatusCode::kInvalidArgument);
  MemoryRegion smaller = ClientRegion();
  smaller.bytes = 100;
  ASSERT_TRUE(connection_->AnnounceRegion(1, smaller).ok());
  ASSERT_TRUE(connection_->Send(BytesOf("announced")).ok());
  ASSERT_TRUE(RunUntil([&] { return server_.messages.size() == 2; }));
  EXPECT_EQ(accepted_[0]->Push(server_arena_->base(), {1, 0, 101}, 1).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(accepted_[0]->Push(server_arena_->base(), {1, 0, 100}, 1).ok());
  EXPECT_TRUE(RunUntil([&] { return server_.done.size() == 1; }));
}

TEST_P(TransportTest, RegionsAreLimitedInNumber) {
  ASSERT_NO_FATAL_FAILURE(ConnectBoth());
  MemoryRegion region = ClientRegion();
  region.bytes = 4096;
  for (uint32_t i = 0; i < kMaxRegions; ++i) ASSERT_TRUE(connection_->AnnounceRegion(i, region).ok()) << i;
  EXPECT_EQ(connection_->AnnounceRegion(kMaxRegions, region).code(), absl::StatusCode::kResourceExhausted);
  ASSERT_TRUE(connection_->Send(BytesOf("all")).ok());
  ASSERT_TRUE(RunUntil([&] { return server_.messages.size() == 1; }));
  EXPECT_TRUE(accepted_[0]->Push(server_arena_->base(), {kMaxRegions - 1, 0, 4096}, 1).ok());
  EXPECT_TRUE(RunUntil([&] { return server_.done.size() == 1; }));
}

// A descriptor that is no dma-buf: a transport that knows devices refuses that, the others refuse all, and go on.
TEST_P(TransportTest, ADevicesMemoryIsRefusedWhereItCannotBeReached) {
  ASSERT_NO_FATAL_FAILURE(ConnectWithRegion());
  MemoryRegion device = ClientRegion();
  device.device = DeviceMemory{.dma_buf = client_arena_->fd()};
  for (const absl::Status& refused : {connection_->AnnounceRegion(2, device), server_worker_->Register(device)}) {
    EXPECT_FALSE(refused.ok());
    if (GetParam().rfind("verbs", 0) == 0) continue;
    EXPECT_EQ(refused.code(), absl::StatusCode::kUnimplemented) << refused;
  }
  ASSERT_TRUE(accepted_[0]->Push(server_arena_->base(), {1, 0, 1}, 1).ok());
  EXPECT_EQ(accepted_[0]->Push(server_arena_->base(), {2, 0, 1}, 2).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(RunUntil([&] { return server_.done.size() == 1; }));
}

TEST_P(TransportTest, EachEndHasItsPart) {
  ASSERT_NO_FATAL_FAILURE(ConnectWithRegion());
  EXPECT_EQ(connection_->Push(client_arena_->base(), {1, 0, 1}, 1).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(connection_->Pull(client_arena_->base(), {1, 0, 1}, 1).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(accepted_[0]->AnnounceRegion(5, ClientRegion()).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(accepted_[0]->WithdrawRegion(1).code(), absl::StatusCode::kFailedPrecondition);
}

TEST_P(TransportTest, TwoConnectionsDoNotMix) {
  ASSERT_NO_FATAL_FAILURE(ConnectWithRegion());
  auto other_arena = HostArena::Create("other", kArenaBytes);
  ASSERT_TRUE(other_arena.ok());
  Recorder other_client;
  Recorder other_server;
  accept_events_ = [&] { return &other_server; };
  auto other = client_worker_->Connect(address_, &other_client);
  ASSERT_TRUE(other.ok()) << other.status();
  ASSERT_TRUE(
      (*other)->AnnounceRegion(1, {(*other_arena)->base(), (*other_arena)->bytes(), (*other_arena)->fd()}).ok());
  ASSERT_TRUE((*other)->Send(BytesOf("from the other")).ok());
  ASSERT_TRUE(connection_->Send(BytesOf("from the first")).ok());
  ASSERT_TRUE(RunUntil([&] { return server_.messages.size() + other_server.messages.size() == 2; }));
  EXPECT_THAT(server_.messages, testing::ElementsAre("from the first"));
  EXPECT_THAT(other_server.messages, testing::ElementsAre("from the other"));
  const std::string first = Pattern(1, 1 << 20);
  const std::string second = Pattern(2, 1 << 20);
  std::memcpy(server_arena_->base(), first.data(), first.size());
  std::memcpy(server_arena_->base() + first.size(), second.data(), second.size());
  ASSERT_TRUE(accepted_[0]->Push(server_arena_->base(), {1, 0, 1 << 20}, 1).ok());
  ASSERT_TRUE(accepted_[1]->Push(server_arena_->base() + (1 << 20), {1, 0, 1 << 20}, 1).ok());
  for (auto& connection : accepted_) ASSERT_TRUE(connection->Send(BytesOf("done")).ok());
  ASSERT_TRUE(RunUntil([&] {
    return client_.messages.size() == 1 && other_client.messages.size() == 1 && server_.done.size() == 1 &&
           other_server.done.size() == 1;
  }));
  EXPECT_EQ(std::memcmp(client_arena_->base(), first.data(), first.size()), 0);
  EXPECT_EQ(std::memcmp((*other_arena)->base(), second.data(), second.size()), 0);
  other->reset();
}

TEST_P(TransportTest, SendingToAPeerThatDoesNotReadIsBounded) {
  ASSERT_NO_FATAL_FAILURE(ConnectBoth());
  const std::string message = Pattern(1, 64 << 10);
  absl::Status sent;
  size_t accepted = 0;
  while ((sent = accepted_[0]->Send(BytesOf(message))).ok() && accepted < 10'000) {
    ++accepted;
    server_worker_->Progress();
  }
  EXPECT_EQ(sent.code(), absl::StatusCode::kResourceExhausted) << sent;
  ASSERT_TRUE(RunUntil([&] { return client_.messages.size() == accepted; }));
  for (const std::string& got : client_.messages) ASSERT_TRUE(got == message);
  EXPECT_TRUE(accepted_[0]->Send(BytesOf(message)).ok()) << "room again";
}

TEST_P(TransportTest, AnArmedWorkerSleepsUntilSomethingArrives) {
  ASSERT_NO_FATAL_FAILURE(ConnectBoth());
  const auto readable = [&](int wait_ms) {
    pollfd fd{server_worker_->event_fd(), POLLIN, 0};
    return ::poll(&fd, 1, wait_ms) == 1;
  };
  // Idle: it can be armed, and then its descriptor stays quiet.
  const absl::Time limit = absl::Now() + absl::Seconds(60);
  do {
    ASSERT_LT(absl::Now(), limit) << "never idle";
    while (server_worker_->Progress() + client_worker_->Progress() > 0) {
    }
  } while (!server_worker_->Arm() || readable(20));
  ASSERT_TRUE(connection_->Send(BytesOf("wake up")).ok());
  bool woken = false;
  while (!woken && absl::Now() < limit) {
    client_worker_->Progress();
    woken = readable(1);
  }
  EXPECT_TRUE(woken);
  EXPECT_TRUE(RunUntil([&] { return server_.messages.size() == 1; }));
}

}  // namespace
}  // namespace droidspeak
