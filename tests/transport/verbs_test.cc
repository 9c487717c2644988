// SPDX-License-Identifier: Apache-2.0
// What only verbs has: links that go down, resources that must come back, devices to choose from. Needs an RDMA device
// whose network interface may be taken down: tests/rdma/run.sh.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <map>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/transport/verbs/device.h"
#include "common/transport/verbs/verbs_transport.h"
#include "tests/transport/peers.h"

namespace droidspeak {
namespace {

INSTANTIATE_TEST_SUITE_P(, TransportTest, TRANSPORTS, [](const auto& info) { return info.param; });

std::map<std::string, int64_t> Resources() {
  std::map<std::string, int64_t> all;
  for (const auto& [name, count] : VerbsTransport().resources()) all[name] = count;
  return all;
}

TEST_P(TransportTest, AnAnswerAfterTheEndIsLate) {
  auto connected = client_worker_->Connect(address_, &client_);
  ASSERT_TRUE(connected.ok()) << connected.status();
  connection_ = *std::move(connected);
  connection_->Close();
  ASSERT_TRUE(RunUntil([&] { return client_.closed && !accepted_.empty(); }));
  for (int i = 0; i < 1000; ++i) client_worker_->Progress();
  EXPECT_EQ(connection_->Send(BytesOf("x")).code(), absl::StatusCode::kUnavailable);
}

TEST_P(TransportTest, ResourcesComeBack) {
  ASSERT_NO_FATAL_FAILURE(ConnectWithRegion());
  connection_->Close();
  ASSERT_TRUE(RunUntil([&] { return client_.closed && server_.closed; }));
  connection_.reset();
  accepted_.clear();
  while (server_worker_->Progress() + client_worker_->Progress() > 0) {
  }
  const auto before = Resources();
  for (int round = 0; round < 10; ++round) {
    server_ = Recorder();
    client_ = Recorder();
    ASSERT_NO_FATAL_FAILURE(ConnectWithRegion());
    ASSERT_TRUE(accepted_[0]->Push(server_arena_->base(), {1, 0, 1 << 20}, 1).ok());
    std::vector<std::byte> elsewhere(100'000);  // not registered
    ASSERT_TRUE(accepted_[0]->Push(elsewhere.data(), {1, 0, elsewhere.size()}, 2).ok());
    if (round % 2 == 0) {
      ASSERT_TRUE(RunUntil([&] { return server_.done.size() == 2; }));
    }
    connection_->Close();
    ASSERT_TRUE(RunUntil([&] { return client_.closed && server_.closed; }));
    connection_.reset();
    accepted_.clear();
    while (server_worker_->Progress() + client_worker_->Progress() > 0) {
    }
  }
  EXPECT_EQ(Resources(), before);
}

TEST_P(TransportTest, ALinkThatGoesDownEndsItsConnectionsAndComesBack) {
  const char* const interface = std::getenv("DROIDSPEAK_TEST_INTERFACE");
  ASSERT_NE(interface, nullptr) << "the network interface under the RDMA device";
  ASSERT_NO_FATAL_FAILURE(ConnectWithRegion());
  ASSERT_EQ(std::system(absl::StrCat("ip link set ", interface, " down").c_str()), 0);
  const absl::Time down = absl::Now();
  const bool ended = RunUntil([&] { return client_.closed && server_.closed; });
  const absl::Duration took = absl::Now() - down;
  ASSERT_EQ(std::system(absl::StrCat("ip link set ", interface, " up").c_str()), 0);
  ASSERT_TRUE(ended);
  EXPECT_LT(took, absl::Seconds(3));
  EXPECT_EQ(client_.closed->code(), absl::StatusCode::kUnavailable) << *client_.closed;
  EXPECT_EQ(server_.closed->code(), absl::StatusCode::kUnavailable) << *server_.closed;
  connection_.reset();
  accepted_.clear();
  // The port takes a moment to become active again; a client tries until it does.
  const absl::Time limit = absl::Now() + absl::Seconds(20);
  do {
    server_ = Recorder();
    client_ = Recorder();
    auto connected = client_worker_->Connect(address_, &client_);
    if (!connected.ok()) {
      client_worker_->Progress();
      continue;
    }
    connection_ = *std::move(connected);
    ASSERT_TRUE(RunUntil([&] { return client_.closed || !accepted_.empty(); }));
  } while (accepted_.empty() && absl::Now() < limit);
  ASSERT_FALSE(accepted_.empty());
  ASSERT_TRUE(connection_->AnnounceRegion(1, ClientRegion()).ok());
  ASSERT_TRUE(connection_->Send(BytesOf("again")).ok());
  ASSERT_TRUE(RunUntil([&] { return server_.messages.size() == 1; }));
  ASSERT_TRUE(accepted_.back()->Push(server_arena_->base(), {1, 0, 1 << 20}, 9).ok());
  ASSERT_TRUE(RunUntil([&] { return server_.done.contains(9); }));
  EXPECT_TRUE(server_.done.at(9).ok()) << server_.done.at(9);
}

TEST(DeviceTest, SaysWhatIsMissing) {
  EXPECT_EQ(verbs::Device::Open("nosuch0").status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(verbs::Device::Open("nosuch0").status().message()), testing::HasSubstr("nosuch0"));
  EXPECT_EQ(verbs::Device::Open("a:b").status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(verbs::Device::Open(":1").status().code(), absl::StatusCode::kInvalidArgument);
  const auto device = verbs::Device::Open();
  ASSERT_TRUE(device.ok()) << device.status();
  const std::string name = (*device)->name().substr(0, (*device)->name().find(':'));
  EXPECT_EQ(verbs::Device::Open(absl::StrCat(name, ":9")).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(verbs::Device::Open(absl::StrCat(name, ":1:200")).status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(verbs::Device::Open(absl::StrCat(name, ":1:0")).ok());
}

}  // namespace
}  // namespace droidspeak
