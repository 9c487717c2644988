// SPDX-License-Identifier: Apache-2.0
// What the `ucx` transport alone promises: where it listens, how it finds a silent peer, and that peers who break the
// protocol are cut off.
#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <ucp/api/ucp.h>

#include <cstring>
#include <string>
#include <vector>

#include "absl/time/clock.h"
#include "common/transport/done_up_to.h"
#include "common/transport/ucx/am.h"
#include "common/transport/ucx/ucx_engine.h"
#include "tests/transport/peers.h"

namespace droidspeak {
namespace {

INSTANTIATE_TEST_SUITE_P(, TransportTest, testing::Values("ucx"), [](const auto& info) { return info.param; });

// The TCP sockets of this process: those that listen, or the others.
std::vector<int> TcpSockets(bool listening) {
  std::vector<int> found;
  for (int fd = 0; fd < 1024; ++fd) {
    int domain = 0;
    int type = 0;
    int listens = 0;
    socklen_t bytes = sizeof(int);
    if (::getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &bytes) != 0 || (domain != AF_INET && domain != AF_INET6) ||
        ::getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &bytes) != 0 || type != SOCK_STREAM ||
        ::getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &bytes) != 0) {
      continue;
    }
    if ((listens != 0) == listening) found.push_back(fd);
  }
  return found;
}

TEST_P(TransportTest, WhatListensOnLoopbackListensNowhereElse) {
  ASSERT_NO_FATAL_FAILURE(ConnectBoth());
  const std::vector<int> sockets = TcpSockets(true);
  ASSERT_FALSE(sockets.empty());
  for (const int fd : sockets) {
    sockaddr_in name{};
    socklen_t bytes = sizeof(name);
    ASSERT_EQ(::getsockname(fd, reinterpret_cast<sockaddr*>(&name), &bytes), 0);
    EXPECT_EQ(ntohl(name.sin_addr.s_addr), INADDR_LOOPBACK);
  }
}

TEST_P(TransportTest, ASilentClientIsProbedEverySecond) {
  ASSERT_NO_FATAL_FAILURE(ConnectWithRegion());
  int probed = 0;
  for (const int fd : TcpSockets(false)) {
    int on = 0;
    int idle = 0;
    int probes = 0;
    socklen_t bytes = sizeof(int);
    ASSERT_EQ(::getsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, &bytes), 0);
    if (on == 0) continue;
    ASSERT_EQ(::getsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, &bytes), 0);
    ASSERT_EQ(::getsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, &bytes), 0);
    EXPECT_EQ(idle, 1);
    EXPECT_EQ(probes, 1);
    ++probed;
  }
  EXPECT_EQ(probed, 1) << "UCX probes from the end that connected the sockets under a connection: the server";
}

TEST_P(TransportTest, AServerThatStartsAgainGetsItsPortBack) {
  ASSERT_NO_FATAL_FAILURE(ConnectBoth());
  accepted_.clear();  // the server closes first, so its end waits in TIME_WAIT
  ASSERT_TRUE(RunUntil([&] { return client_.closed.has_value(); }));
  server_worker_.reset();
  auto created = transport_->CreateWorker();
  ASSERT_TRUE(created.ok());
  server_worker_ = *std::move(created);
  const auto bound = server_worker_->Listen(address_, nullptr);
  EXPECT_TRUE(bound.ok()) << bound.status();
}

TEST_P(TransportTest, AddressesAreLookedUpAndIpv6LoopbackIsRefusedByName) {
  const auto bound = client_worker_->Listen("localhost:0", nullptr);
  ASSERT_TRUE(bound.ok()) << bound.status();
  EXPECT_EQ(bound->substr(0, 10), "127.0.0.1:");
  auto other = transport_->CreateWorker();
  ASSERT_TRUE(other.ok());
  const auto refused = (*other)->Listen("[::1]:0", nullptr);
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(refused.status().ToString(), testing::HasSubstr("127.0.0.1"));
}

TEST_P(TransportTest, AnIdleConnectionUsesNoProcessor) {
  ASSERT_NO_FATAL_FAILURE(ConnectWithRegion());
  const auto cpu = [] {
    rusage usage;
    ::getrusage(RUSAGE_THREAD, &usage);
    return absl::DurationFromTimeval(usage.ru_utime) + absl::DurationFromTimeval(usage.ru_stime);
  };
  const absl::Duration before = cpu();
  const absl::Time until = absl::Now() + absl::Seconds(2);
  RunUntil([&] { return absl::Now() > until; });
  EXPECT_LT(cpu() - before, absl::Milliseconds(200));
}

// A client that speaks UCX but not our protocol.
class Forger {
 public:
  explicit Forger(const std::string& address) {
    auto engine = ucx::UcxEngine::Create({.loopback = true, .ipv6 = false});
    EXPECT_TRUE(engine.ok());
    engine_ = *std::move(engine);
    const auto resolved = ucx::ResolveForUcx(address);
    ucp_ep_params_t params{};
    params.field_mask = UCP_EP_PARAM_FIELD_FLAGS | UCP_EP_PARAM_FIELD_SOCK_ADDR | UCP_EP_PARAM_FIELD_ERR_HANDLER |
                        UCP_EP_PARAM_FIELD_ERR_HANDLING_MODE;
    params.flags = UCP_EP_PARAMS_FLAGS_CLIENT_SERVER;
    params.sockaddr = ucx::ToUcs(*resolved);
    params.err_mode = UCP_ERR_HANDLING_MODE_PEER;
    params.err_handler.cb = [](void*, ucp_ep_h, ucs_status_t) {};
    EXPECT_EQ(ucp_ep_create(engine_->worker(), &params, &endpoint_), UCS_OK);
  }

  ~Forger() {
    ucp_request_param_t params{};
    params.op_attr_mask = UCP_OP_ATTR_FIELD_FLAGS;
    params.flags = UCP_EP_CLOSE_FLAG_FORCE;
    ucs_status_ptr_t request = ucp_ep_close_nbx(endpoint_, &params);
    if (!UCS_PTR_IS_PTR(request)) return;
    while (ucp_request_check_status(request) == UCS_INPROGRESS) Progress();
    ucp_request_free(request);
  }

  void Send(unsigned id, const void* header, size_t header_bytes, const std::string& data) {
    ucp_request_param_t params{};
    params.op_attr_mask = UCP_OP_ATTR_FIELD_FLAGS;
    params.flags = UCP_AM_SEND_FLAG_REPLY | UCP_AM_SEND_FLAG_EAGER;
    ucs_status_ptr_t request = ucp_am_send_nbx(endpoint_, id, header, header_bytes, data.data(), data.size(), &params);
    if (UCS_PTR_IS_PTR(request)) ucp_request_free(request);
  }

  void Progress() { ucp_worker_progress(engine_->worker()); }

 private:
  std::unique_ptr<ucx::UcxEngine> engine_;
  ucp_ep_h endpoint_ = nullptr;
};

TEST_P(TransportTest, PeersThatBreakTheProtocolAreCutOff) {
  struct Case {
    const char* what;
    unsigned id;
    std::string header;
    std::string data;
  };
  const auto header = [](const auto& value) {
    return std::string(reinterpret_cast<const char*>(&value), sizeof(value));
  };
  using ucx::ControlHeader;
  using ucx::PullHeader;
  using ucx::PushHeader;
  const std::vector<Case> cases = {
      {"no header", ucx::kAmControl, "", "x"},
      {"a short header", ucx::kAmControl, "short", "x"},
      {"an unknown type", ucx::kAmControl, header(ControlHeader{9, 0, 0, 0, 0}), ""},
      {"an empty message", ucx::kAmControl, header(ControlHeader{1, 0, 0, 0, 0}), ""},
      {"a number far ahead", ucx::kAmControl, header(ControlHeader{1, 0, uint64_t{1} << 60, 0, 0}), "x"},
      {"a region without bytes", ucx::kAmControl, header(ControlHeader{2, 1, 0, 0, 0}), ""},
      {"a region never announced", ucx::kAmControl, header(ControlHeader{3, 1, 0, 0, 0}), ""},
      {"a push to the server", ucx::kAmPush, header(PushHeader{0, 0, 1, 1, 0}), "x"},
      {"a pull from the server", ucx::kAmPullRequest, header(PullHeader{0, 0, 1, 1, 0}), ""},
      {"an answer to no pull", ucx::kAmPullData, header(PullHeader{7, 0, 1, 1, 0}), "x"},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.what);
    server_ = Recorder();
    accepted_.clear();
    Forger forger(address_);
    forger.Send(c.id, c.header.data(), c.header.size(), c.data);
    const absl::Time limit = absl::Now() + absl::Seconds(60);
    while (!server_.closed && absl::Now() < limit) {
      forger.Progress();
      server_worker_->Progress();
    }
    ASSERT_TRUE(server_.closed.has_value());
    EXPECT_THAT(server_.closed->code(),
                testing::AnyOf(absl::StatusCode::kInvalidArgument, absl::StatusCode::kNotFound));
    EXPECT_TRUE(server_.messages.empty());
  }
}

TEST(DoneUpToTest, CountsWithoutGaps) {
  DoneUpTo done;
  EXPECT_TRUE(done.Add(1));
  EXPECT_TRUE(done.Add(3));
  EXPECT_EQ(done.below(), 0u);
  EXPECT_EQ(done.ahead(), 2u);
  EXPECT_TRUE(done.Add(0));
  EXPECT_EQ(done.below(), 2u);
  EXPECT_FALSE(done.Add(1));
  EXPECT_FALSE(done.Add(3));
  EXPECT_TRUE(done.Add(2));
  EXPECT_EQ(done.below(), 4u);
  EXPECT_EQ(done.ahead(), 0u);
}

}  // namespace
}  // namespace droidspeak
