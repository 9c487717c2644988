// SPDX-License-Identifier: Apache-2.0
// Two ends of a socket under TLS: records by OpenSSL and by the kernel, in all combinations. Where the kernel has no
// TLS, OpenSSL makes them all, and what is tested is that it does; `./dev rdma-test kernel_tls` has a kernel that has
// it.
#include "common/transport/tcp/tls_layer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <utility>

#include "absl/time/clock.h"
#include "common/transport/socket_address.h"
#include "common/transport/tcp/socket.h"
#include "tests/transport/encrypted_tcp.h"
#include "tests/transport/peers.h"

namespace droidspeak::tcp {
namespace {

using testing::HasSubstr;

// What tests/rdma/kernel_tls.sh says of its kernel; elsewhere it is not known.
bool Known(const char* variable) {
  const char* const value = std::getenv(variable);
  return value != nullptr && std::string(value) == "1";
}

struct End {
  std::unique_ptr<TlsContext> context;
  OwnedFd socket;
  std::unique_ptr<TlsLayer> layer;
  std::string to_send;
  size_t sent = 0;
  std::string received;
  absl::Status status;

  // Sends what it can, and receives when there is something, in odd pieces.
  void Move() {
    if (!status.ok()) return;
    const size_t rest = to_send.size() - sent;
    const size_t first = std::min<size_t>(rest, 37), second = std::min<size_t>(rest - first, 70'001);
    const std::array<iovec, 2> out = {iovec{to_send.data() + sent, first},
                                      iovec{to_send.data() + sent + first, second}};
    const absl::StatusOr<size_t> written = layer->Write(absl::MakeConstSpan(out.data(), rest == 0 ? 0 : 2));
    if (!written.ok()) {
      status = written.status();
      return;
    }
    sent += *written;
    pollfd event{socket.get(), POLLIN, 0};
    if (layer->established() && !layer->has_input() && ::poll(&event, 1, 0) == 0) return;
    std::string head(3, '\0'), tail(50'000, '\0');
    const std::array<iovec, 2> in = {iovec{head.data(), head.size()}, iovec{tail.data(), tail.size()}};
    const absl::StatusOr<size_t> read = layer->Read(in);
    if (!read.ok()) {
      status = read.status();
      return;
    }
    received += (head + tail).substr(0, *read);
  }
};

class TlsLayerTest : public testing::TestWithParam<std::tuple<bool, bool>> {
 protected:
  void Connect(uint64_t bytes_per_key = TlsRecords{}.bytes_per_key) {
    const auto [client_kernel, server_kernel] = GetParam();
    client_.context = TlsContext::ForClient({client_kernel, bytes_per_key}).value();
    server_.context =
        TlsContext::ForServer(
            [](std::string_view name) { return name == TestKey().name ? std::optional(TestKey().key) : std::nullopt; },
            {server_kernel, bytes_per_key})
            .value();
    const OwnedFd listener = ListenAt(SocketAddress::Resolve("127.0.0.1:0")->front()).value();
    client_.socket = StartConnecting(SocketAddress::OfSocket(listener.get()).value()).value();
    pollfd coming{listener.get(), POLLIN, 0};
    ASSERT_EQ(::poll(&coming, 1, 10'000), 1);
    server_.socket = OwnedFd(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    client_.layer = TlsLayer::Create(*client_.context, client_.socket.get(), TestKey()).value();
    server_.layer = TlsLayer::Create(*server_.context, server_.socket.get(), {}).value();
  }

  // Until both have all that the other sends, or one has failed.
  void Exchange() {
    const absl::Time limit = absl::Now() + absl::Seconds(30);
    while (client_.status.ok() && server_.status.ok() && absl::Now() < limit &&
           (client_.received.size() < server_.to_send.size() || server_.received.size() < client_.to_send.size())) {
      client_.Move();
      server_.Move();
    }
  }

  End client_, server_;
};

INSTANTIATE_TEST_SUITE_P(, TlsLayerTest, testing::Combine(testing::Bool(), testing::Bool()), [](const auto& info) {
  const auto name = [](bool kernel) { return kernel ? "Kernel" : "Openssl"; };
  return std::string(name(std::get<0>(info.param))) + "To" + name(std::get<1>(info.param));
});

TEST_P(TlsLayerTest, WhatIsSentArrives) {
  Connect();
  client_.to_send = Pattern(1, 3'000'001);
  server_.to_send = Pattern(2, 5'000'003);
  Exchange();
  ASSERT_TRUE(client_.status.ok()) << client_.status;
  ASSERT_TRUE(server_.status.ok()) << server_.status;
  EXPECT_TRUE(client_.received == server_.to_send);
  EXPECT_TRUE(server_.received == client_.to_send);
  const auto [client_kernel, server_kernel] = GetParam();
  if (!client_kernel || Known("DROIDSPEAK_TEST_KERNEL_TLS")) {
    EXPECT_EQ(client_.layer->by_kernel(), client_kernel);
  }
  if (!server_kernel || Known("DROIDSPEAK_TEST_KERNEL_TLS")) {
    EXPECT_EQ(server_.layer->by_kernel(), server_kernel);
  }
}

// Bytes that stand in the kernel when it takes over: a client speaks at once.
TEST_P(TlsLayerTest, NothingIsLostBehindTheHandshake) {
  Connect();
  client_.to_send = Pattern(3, 30'000);
  const absl::Time limit = absl::Now() + absl::Seconds(30);
  while (client_.sent < client_.to_send.size() && absl::Now() < limit) {
    client_.Move();
    if (!client_.layer->established()) server_.Move();
  }
  Exchange();
  EXPECT_TRUE(server_.received == client_.to_send) << server_.status;
}

// Dozens of times; who can't do that gives up the connection.
TEST_P(TlsLayerTest, KeysAreChanged) {
  Connect(40'000);
  client_.to_send = Pattern(4, 2'000'000);
  server_.to_send = Pattern(5, 3'000'000);
  Exchange();
  const absl::Status& why = client_.status.ok() ? server_.status : client_.status;
  if (why.ok()) {
    EXPECT_TRUE(client_.received == server_.to_send);
    EXPECT_TRUE(server_.received == client_.to_send);
    return;
  }
  EXPECT_TRUE(client_.layer->by_kernel() || server_.layer->by_kernel());
  EXPECT_FALSE(Known("DROIDSPEAK_TEST_KERNEL_TLS_KEYS"));
  EXPECT_EQ(why.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(why.message()), HasSubstr("this kernel can't change keys"));
  EXPECT_TRUE(client_.to_send.starts_with(server_.received));
  EXPECT_TRUE(server_.to_send.starts_with(client_.received));
}

TEST_P(TlsLayerTest, AnEndThatGoesIsNoticed) {
  Connect();
  client_.to_send = server_.to_send = "words";
  Exchange();
  ASSERT_EQ(server_.received, "words");
  client_.layer.reset();
  client_.socket = OwnedFd();
  pollfd gone{server_.socket.get(), POLLIN, 0};
  ASSERT_EQ(::poll(&gone, 1, 10'000), 1);
  server_.Move();
  EXPECT_EQ(server_.status.code(), absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace droidspeak::tcp
