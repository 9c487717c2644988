// SPDX-License-Identifier: Apache-2.0
// What is particular to tcp under TLS: keys, peers without them, and what can be read on the way.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>

#include <string>
#include <utility>

#include "common/base/owned_fd.h"
#include "common/transport/session_tls_key.h"
#include "common/transport/socket_address.h"
#include "common/transport/tcp/socket.h"
#include "common/transport/tcp/tcp_worker.h"
#include "tests/transport/encrypted_tcp.h"
#include "tests/transport/peers.h"

namespace droidspeak {
namespace {

class TlsTest : public TransportTest {
 protected:
  // A client's worker that encrypts only when told to.
  std::unique_ptr<Worker> PlainWorker() { return TcpTransport().CreateWorker().value(); }
  template <typename Condition>
  bool RunWith(Worker& other, Condition condition) {
    return RunUntil([&] {
      other.Progress();
      return condition();
    });
  }
};

INSTANTIATE_TEST_SUITE_P(, TlsTest, testing::Values("tcp_tls"), [](const auto& info) { return info.param; });

TEST_P(TlsTest, AnotherKeyIsRefused) {
  const std::unique_ptr<Worker> other = PlainWorker();
  for (const SharedKey& key : {SharedKey{TestKey().name, std::string(32, 'x')},
                               SharedKey{"fedcba9876543210", TestKey().key}, SharedKey{"no", std::string(32, 0)}}) {
    Recorder events;
    auto connected = other->ConnectEncrypted(address_, key, &events);
    ASSERT_TRUE(connected.ok());
    ASSERT_TRUE(RunWith(*other, [&] { return events.closed.has_value(); }));
    EXPECT_EQ(events.closed->code(), absl::StatusCode::kUnavailable) << *events.closed;
  }
  EXPECT_TRUE(accepted_.empty()) << "strangers are no connections";
}

TEST_P(TlsTest, AClientInTheClearIsRefused) {
  const std::unique_ptr<Worker> other = PlainWorker();
  Recorder events;
  auto connected = other->Connect(address_, &events);
  ASSERT_TRUE(connected.ok());
  ASSERT_TRUE(RunWith(*other, [&] { return events.closed.has_value(); }));
  EXPECT_TRUE(accepted_.empty());
}

TEST_P(TlsTest, AServerInTheClearIsRefused) {
  const std::unique_ptr<Worker> other = PlainWorker();
  std::unique_ptr<Connection> accepted;
  const auto bound = other->Listen("127.0.0.1:0", [&](std::unique_ptr<Connection> one) {
    accepted = std::move(one);
    return nullptr;
  });
  ASSERT_TRUE(bound.ok());
  auto connected = client_worker_->Connect(*bound, &client_);
  ASSERT_TRUE(connected.ok());
  connection_ = *std::move(connected);
  ASSERT_TRUE(RunWith(*other, [&] { return client_.closed.has_value(); }));
  EXPECT_EQ(accepted, nullptr);
}

// A relay in the middle sees all bytes: none of what is sent can be read there, and a flipped one ends the connection.
class Relay {
 public:
  explicit Relay(const std::string& server) {
    listener_ = tcp::ListenAt(SocketAddress::Resolve("127.0.0.1:0").value().front()).value();
    server_ = tcp::StartConnecting(SocketAddress::Resolve(server)->front()).value();
  }
  std::string address() const { return SocketAddress::OfSocket(listener_.get()).value().ToString(); }
  void Move() {
    if (!client_.valid()) {
      client_ = OwnedFd(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
      return;
    }
    Copy(client_.get(), server_.get());
    Copy(server_.get(), client_.get());
  }
  // Sends on what was held back.
  void Release() {
    hold_back = 0;
    const std::string held = std::exchange(held_, {});
    EXPECT_EQ(::send(server_.get(), held.data(), held.size(), MSG_NOSIGNAL), static_cast<ssize_t>(held.size()));
  }
  std::string seen;
  bool flip = false;     // the next byte
  size_t hold_back = 0;  // of the next bytes' end, once

 private:
  void Copy(int from, int to) {
    std::string bytes(1 << 16, '\0');
    const ssize_t got = ::recv(from, bytes.data(), bytes.size(), MSG_DONTWAIT);
    if (got == 0) ::shutdown(to, SHUT_WR);
    if (got <= 0) return;
    bytes.resize(static_cast<size_t>(got));
    seen += bytes;
    if (flip) bytes.back() = static_cast<char>(bytes.back() ^ 1);
    flip = false;
    held_ += bytes.substr(bytes.size() - hold_back);
    bytes.resize(bytes.size() - std::exchange(hold_back, 0));
    EXPECT_EQ(::send(to, bytes.data(), bytes.size(), MSG_NOSIGNAL), static_cast<ssize_t>(bytes.size()));
  }
  OwnedFd listener_, server_, client_;
  std::string held_;
};

TEST_P(TlsTest, NothingCanBeReadOrChangedOnTheWay) {
  Relay relay(address_);
  auto connected = client_worker_->Connect(relay.address(), &client_);
  ASSERT_TRUE(connected.ok());
  connection_ = *std::move(connected);
  const std::string secret = "the words of a context";
  ASSERT_TRUE(connection_->Send(BytesOf(secret)).ok());
  ASSERT_TRUE(RunUntil([&] {
    relay.Move();
    return server_.messages.size() == 1;
  }));
  EXPECT_THAT(relay.seen, testing::Not(testing::HasSubstr(secret)));
  EXPECT_GT(relay.seen.size(), secret.size());
  relay.flip = true;
  ASSERT_TRUE(connection_->Send(BytesOf(secret)).ok());
  ASSERT_TRUE(RunUntil([&] {
    relay.Move();
    return server_.closed.has_value() && client_.closed.has_value();
  }));
  EXPECT_EQ(server_.messages.size(), 1u) << "the message that was changed did not arrive";
}

// Who sends half a record keeps no thread of a server's from sleeping.
TEST_P(TlsTest, NobodyIsBusyWithAPartOfARecord) {
  Relay relay(address_);
  auto connected = client_worker_->Connect(relay.address(), &client_);
  ASSERT_TRUE(connected.ok());
  connection_ = *std::move(connected);
  const auto move_until = [&](auto condition) {
    return RunUntil([&] {
      relay.Move();
      return condition();
    });
  };
  ASSERT_TRUE(connection_->Send(BytesOf("first")).ok());
  ASSERT_TRUE(move_until([&] { return server_.messages.size() == 1; }));
  for (const size_t bytes : {size_t{1}, size_t{100}}) {
    // A whole record first, which wakes the server.
    relay.hold_back = bytes;
    const std::string message = Pattern(bytes, 20'000);
    ASSERT_TRUE(connection_->Send(BytesOf(message)).ok());
    ASSERT_TRUE(move_until([&] { return relay.hold_back == 0; }));
    bool idle = false;
    for (int round = 0; round < 100 && !idle; ++round) idle = server_worker_->Progress() == 0;
    ASSERT_TRUE(idle) << "always something to do";
    ASSERT_TRUE(server_worker_->Arm());
    pollfd event{server_worker_->event_fd(), POLLIN, 0};
    EXPECT_EQ(::poll(&event, 1, 0), 0) << "it would be woken at once";
    const size_t before = server_.messages.size();
    relay.Release();
    ASSERT_TRUE(move_until([&] { return server_.messages.size() == before + 1; }));
    EXPECT_EQ(server_.messages.back(), message);
  }
}

TEST(SessionTlsKeyTest, NamesStandForSessions) {
  const SessionKey key{1, 2, 3};
  const SharedKey shared = TlsKeyOf(0xabcdef, key);
  EXPECT_EQ(SessionOfTlsKey(shared.name), 0xabcdefu);
  EXPECT_EQ(shared.key.size(), 32u);
  EXPECT_NE(shared.key, std::string(reinterpret_cast<const char*>(key.data()), key.size()));
  for (const char* name : {"", "abcdef", "00000000000abcdefg", "0000000000abcdez", "-000000000abcdef"}) {
    EXPECT_EQ(SessionOfTlsKey(name), std::nullopt) << name;
  }
}

}  // namespace
}  // namespace droidspeak
