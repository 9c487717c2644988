// SPDX-License-Identifier: Apache-2.0
// What is particular to `tcp`: its streams, sockets that say nothing, and peers that don't speak its protocol.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>
#include <string>

#include "common/base/owned_fd.h"
#include "common/transport/socket_address.h"
#include "common/transport/tcp/frame.h"
#include "common/transport/tcp/socket.h"
#include "common/transport/tcp/tcp_connection.h"
#include "common/transport/tcp/tcp_worker.h"
#include "tests/transport/peers.h"

namespace droidspeak {
namespace {

using std::string_literals::operator""s;
using tcp::FrameHeader;
using tcp::FrameType;

// A client that writes and reads frames as it likes.
class Forger {
 public:
  explicit Forger(const std::string& address) {
    const auto found = SocketAddress::Resolve(address);
    socket_ = OwnedFd(::socket(found->front().storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
    EXPECT_EQ(::connect(socket_.get(), found->front().get(), found->front().bytes), 0);
  }
  void Send(const FrameHeader& header, const std::string& payload = "") {
    Send(std::string(reinterpret_cast<const char*>(&header), sizeof(header)) + payload);
  }
  void Send(const std::string& bytes) {
    EXPECT_EQ(::send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL), static_cast<ssize_t>(bytes.size()));
  }
  // Bytes that have come, without waiting; "" when there are none, and `ended` if none will.
  std::string Read(size_t most = 1 << 20) {
    std::string bytes(most, '\0');
    const ssize_t got = ::recv(socket_.get(), bytes.data(), most, MSG_DONTWAIT);
    ended = got == 0 || (got < 0 && errno != EAGAIN);
    bytes.resize(got > 0 ? static_cast<size_t>(got) : 0);
    return bytes;
  }
  bool ended = false;

 private:
  OwnedFd socket_;
};

const FrameHeader kOpenFrame{FrameType::kOpen, 0, tcp::kMagic, 0, 0};

class TcpTest : public TransportTest {
 protected:
  // Until the server has told of a connection.
  void Introduce(Forger& forger) {
    const size_t before = accepted_.size();
    forger.Send(kOpenFrame);
    ASSERT_TRUE(RunUntil([&] { return accepted_.size() > before; }));
  }
};

INSTANTIATE_TEST_SUITE_P(, TcpTest, testing::Values("tcp", "tcp_streams"), [](const auto& info) { return info.param; });

class TcpStreamsTest : public TcpTest {};
INSTANTIATE_TEST_SUITE_P(, TcpStreamsTest, testing::Values("tcp_streams"), [](const auto& info) { return info.param; });

TEST_P(TcpStreamsTest, PushesAreSharedByTheStreamsThatJoined) {
  Forger first(address_);
  ASSERT_NO_FATAL_FAILURE(Introduce(first));
  std::string said;
  ASSERT_TRUE(RunUntil([&] {
    said += first.Read();
    return said.size() >= sizeof(FrameHeader);
  }));
  FrameHeader streams;
  std::memcpy(&streams, said.data(), sizeof(streams));
  ASSERT_EQ(streams.type, FrameType::kStreams);
  ASSERT_EQ(streams.region, 3u);
  std::vector<Forger> more;
  for (uint32_t i = 0; i < 5; ++i) {  // two more than granted
    more.emplace_back(address_);
    more.back().Send({FrameType::kJoin, 0, streams.number, streams.offset, 0});
  }
  // Those that are too many, or come with a wrong ticket, are closed.
  Forger wrong(address_);
  wrong.Send({FrameType::kJoin, 0, streams.number ^ 1, streams.offset, 0});
  ASSERT_TRUE(RunUntil([&] {
    wrong.Read();
    more[3].Read();
    more[4].Read();
    return wrong.ended && more[3].ended && more[4].ended;
  }));
  first.Send({FrameType::kAnnounce, 1, 0, 0, kArenaBytes});
  first.Send({FrameType::kMessage, 0, 0, 0, 5}, "ready");
  ASSERT_TRUE(RunUntil([&] { return server_.messages.size() == 1; }));
  for (uint64_t i = 0; i < 6; ++i) {
    ASSERT_TRUE(accepted_[0]->Push(server_arena_->base(), {1, 0, 8192}, i).ok());
  }
  ASSERT_TRUE(accepted_[0]->Send(BytesOf("after them")).ok());
  std::vector<size_t> got(4);
  ASSERT_TRUE(RunUntil([&] {
    got[0] += first.Read().size();
    for (size_t i = 0; i < 3; ++i) got[i + 1] += more[i].Read().size();
    return server_.done.size() == 6 && got[0] + got[1] + got[2] + got[3] == 10 * sizeof(FrameHeader) + 6 * 8192 + 10;
  }));
  EXPECT_EQ(got[0], sizeof(FrameHeader) + 10) << "messages go over the first stream";
  for (size_t i = 1; i < 4; ++i) EXPECT_EQ(got[i], 3 * sizeof(FrameHeader) + 2 * 8192) << i;
  // A stream that joined carries bytes only, and its end is the connection's.
  more[0].Send({FrameType::kMessage, 0, 0, 0, 5}, "wrong");
  ASSERT_TRUE(RunUntil([&] { return server_.closed.has_value(); }));
  EXPECT_EQ(server_.closed->code(), absl::StatusCode::kInvalidArgument) << *server_.closed;
}

TEST_P(TcpTest, StreamsThatAreNotTakenInDoNotEndTheConnection) {
  // A server that grants streams and then has no descriptors for them.
  const OwnedFd listener = tcp::ListenAt(SocketAddress::Resolve("127.0.0.1:0").value().front()).value();
  auto connected = client_worker_->Connect(SocketAddress::OfSocket(listener.get()).value().ToString(), &client_);
  ASSERT_TRUE(connected.ok()) << connected.status();
  connection_ = *std::move(connected);
  std::vector<OwnedFd> sockets;
  const auto accept_until = [&](size_t count) {
    return RunUntil([&] {
      OwnedFd socket(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
      if (socket.valid()) sockets.push_back(std::move(socket));
      return sockets.size() == count;
    });
  };
  ASSERT_TRUE(accept_until(1));
  const auto send = [&](const FrameHeader& header, const std::string& payload) {
    const std::string bytes = std::string(reinterpret_cast<const char*>(&header), sizeof(header)) + payload;
    ASSERT_EQ(::send(sockets[0].get(), bytes.data(), bytes.size(), MSG_NOSIGNAL), static_cast<ssize_t>(bytes.size()));
  };
  send({FrameType::kStreams, 3, 1, 2, 0}, "");
  ASSERT_TRUE(accept_until(4));
  sockets.resize(1);
  for (int i = 0; i < 100; ++i) client_worker_->Progress();
  send({FrameType::kMessage, 0, 0, 0, 5}, "still");
  ASSERT_TRUE(RunUntil([&] { return client_.messages.size() == 1 || client_.closed; }));
  EXPECT_FALSE(client_.closed.has_value()) << *client_.closed;
  EXPECT_TRUE(connection_->Send(BytesOf("here")).ok());
}

TEST_P(TcpTest, ALongMessageBeforeTheHelloCutsThePeerOff) {
  authorize_ = false;
  Forger forger(address_);
  ASSERT_NO_FATAL_FAILURE(Introduce(forger));
  forger.Send({FrameType::kMessage, 0, 0, 0, kMaxMessageBytes});
  ASSERT_TRUE(RunUntil([&] { return server_.closed.has_value(); }));
  EXPECT_EQ(server_.closed->code(), absl::StatusCode::kInvalidArgument) << *server_.closed;
}

TEST_P(TcpTest, ARegionWithdrawnUnderATransferIsNotWrittenAnyMore) {
  ASSERT_NO_FATAL_FAILURE(ConnectWithRegion());
  ASSERT_TRUE(accepted_[0]->Push(server_arena_->base(), {1, 0, 8 << 20}, 1).ok());
  // Until some of it has come.
  std::memset(server_arena_->base(), 0x33, 8 << 20);
  std::memset(client_arena_->base(), 0x11, kArenaBytes);
  ASSERT_TRUE(RunUntil([&] { return client_arena_->base()[0] == std::byte{0x33}; }));
  ASSERT_TRUE(client_.messages.empty());
  ASSERT_TRUE(connection_->WithdrawRegion(1).ok());
  const std::string before(reinterpret_cast<const char*>(client_arena_->base()), kArenaBytes);
  ASSERT_TRUE(RunUntil([&] { return client_.closed.has_value() || server_.done.count(1) == 1; }));
  EXPECT_EQ(std::memcmp(client_arena_->base(), before.data(), kArenaBytes), 0);
}

TEST_P(TcpTest, SocketsThatSayNothingDoNotKeepOthersOut) {
  std::vector<std::unique_ptr<Forger>> silent;
  for (int i = 0; i < 300; ++i) {
    silent.push_back(std::make_unique<Forger>(address_));
    if (i % 3 == 0) silent.back()->Send(std::string("half a frame"));
    server_worker_->Progress();
  }
  ASSERT_NO_FATAL_FAILURE(ConnectWithRegion());
  ASSERT_TRUE(RunUntil([&] {
    silent.front()->Read();
    return silent.front()->ended;
  })) << "the oldest are closed";
  EXPECT_EQ(accepted_.size(), 1u);
}

TEST_P(TcpTest, WhatIsNotThisProtocolIsClosedAndNotTold) {
  for (const std::string& text : {std::string("GET / HTTP/1.1\r\nHost: somebody-else\r\n\r\n"), std::string(64, '\0'),
                                  std::string(4096, '\xff')}) {
    Forger forger(address_);
    forger.Send(text);
    ASSERT_TRUE(RunUntil([&] {
      forger.Read();
      return forger.ended;
    }));
  }
  Forger version(address_);
  version.Send({FrameType::kOpen, 0, tcp::kMagic + 1, 0, 0});
  ASSERT_TRUE(RunUntil([&] {
    version.Read();
    return version.ended;
  }));
  EXPECT_TRUE(accepted_.empty());
}

TEST_P(TcpTest, FramesThatAClientMustNotSendCutItOff) {
  const uint64_t most = UINT64_MAX;
  const FrameHeader wrong[] = {
      {FrameType::kPush, 1, 0, 0, 16},         {FrameType::kPush, 1, most, most, most},
      {FrameType::kPull, 1, 0, 0, 16},         {FrameType::kPulled, 0, 0, 0, 16},
      {FrameType::kPulled, 0, 7, 0, most},     {FrameType::kStreams, 3, 1, 2, 0},
      {FrameType::kJoin, 0, 0, 0, 0},          kOpenFrame,
      {FrameType::kMessage, 0, 0, 0, 0},       {FrameType::kMessage, 0, 0, 0, kMaxMessageBytes + 1},
      {FrameType::kMessage, 0, 0, 0, most},    {FrameType::kAnnounce, 2, 0, 0, 0},
      {FrameType::kAnnounce, 1, 0, 0, 4096},   {FrameType::kWithdraw, 9, 0, 0, 0},
      {static_cast<FrameType>(0), 0, 0, 0, 0}, {static_cast<FrameType>(99), 1, 2, 3, 4}};
  for (const FrameHeader& header : wrong) {
    server_ = Recorder();
    accepted_.clear();
    Forger forger(address_);
    ASSERT_NO_FATAL_FAILURE(Introduce(forger));
    forger.Send({FrameType::kAnnounce, 1, 0, 0, kArenaBytes});
    forger.Send(header, "sixteen bytes...");
    ASSERT_TRUE(RunUntil([&] { return server_.closed.has_value(); })) << static_cast<uint32_t>(header.type);
    EXPECT_THAT(server_.closed->code(),
                testing::AnyOf(absl::StatusCode::kInvalidArgument, absl::StatusCode::kAlreadyExists))
        << static_cast<uint32_t>(header.type) << ": " << *server_.closed;
    EXPECT_TRUE(server_.messages.empty());
  }
}

TEST_P(TcpTest, AnAnswerOfAnotherLengthThanAskedForTouchesNothing) {
  Forger forger(address_);
  ASSERT_NO_FATAL_FAILURE(Introduce(forger));
  forger.Send({FrameType::kAnnounce, 1, 0, 0, kArenaBytes});
  forger.Send({FrameType::kMessage, 0, 0, 0, 5}, "ready");
  ASSERT_TRUE(RunUntil([&] { return server_.messages.size() == 1; }));
  std::memset(server_arena_->base(), 0x11, kArenaBytes);
  ASSERT_TRUE(accepted_[0]->Pull(server_arena_->base(), {1, 0, 4096}, 1).ok());
  forger.Send({FrameType::kPulled, 0, 0, 0, 8192}, std::string(8192, 'x'));
  ASSERT_TRUE(RunUntil([&] { return server_.closed.has_value(); }));
  EXPECT_EQ(server_.done.at(1).code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(std::string(8192, 0x11), std::string(reinterpret_cast<const char*>(server_arena_->base()), 8192));
}

TEST_P(TcpTest, EachAddressOfANameIsTried) {
  // As of a name that is an IPv6 address too, where nobody listens.
  std::vector<SocketAddress> addresses;
  for (const std::string& text : {"[::1]:1"s, "127.0.0.1:1"s, address_}) {
    addresses.push_back(SocketAddress::Resolve(text).value().front());
  }
  const size_t dead = addresses.size() - 1;
  absl::StatusOr<OwnedFd> socket = tcp::StartConnecting(addresses.front());
  for (size_t i = 1; i < dead && !socket.ok(); ++i) socket = tcp::StartConnecting(addresses[i]);
  ASSERT_TRUE(socket.ok()) << socket.status();
  tcp::TcpConnection connection(static_cast<tcp::TcpWorker*>(client_worker_.get()), tcp::TcpConnection::Role::kClient,
                                {*std::move(socket), nullptr}, addresses, std::nullopt);
  connection.set_events(&client_);
  ASSERT_TRUE(connection.Send(BytesOf("found")).ok());
  ASSERT_TRUE(RunUntil([&] { return server_.messages.size() == 1 || client_.closed; }));
  EXPECT_FALSE(client_.closed.has_value()) << *client_.closed;
}

TEST_P(TcpTest, AnIdleConnectionUsesNoProcessor) {
  ASSERT_NO_FATAL_FAILURE(ConnectWithRegion());
  while (server_worker_->Progress() + client_worker_->Progress() > 0) {
  }
  for (int i = 0; i < 100; ++i) EXPECT_EQ(server_worker_->Progress() + client_worker_->Progress(), 0);
  EXPECT_TRUE(server_worker_->Arm() && client_worker_->Arm());
}

}  // namespace
}  // namespace droidspeak
