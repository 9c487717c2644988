// SPDX-License-Identifier: Apache-2.0
// Who gets in, who is cut off, and what is given back.
#include <gmock/gmock.h>

#include <random>

#include "common/key/block_hash.h"
#include "tests/cacheserver/service/service_fixture.h"

namespace droidspeak {
namespace {

using testing::HasSubstr;

class SessionTest : public ServiceTest {
 protected:
  void SetUp() override {
    ASSERT_NO_FATAL_FAILURE(StartServer());
    ConnectClient();
  }
  const std::string& listen() const { return server_->addresses().listen; }
};

TEST_P(SessionTest, AnotherProtocolVersionIsRefusedNamingBoth) {
  const absl::StatusOr<RawSession> session = OpenRawSession(listen(), GetParam(), 2);
  ASSERT_TRUE(absl::IsFailedPrecondition(session.status())) << session.status();
  EXPECT_THAT(std::string(session.status().message()), HasSubstr("speaks protocol 2"));
  EXPECT_THAT(std::string(session.status().message()), HasSubstr("speaks 1"));
}

TEST_P(SessionTest, AnUnknownTransportIsRefused) {
  const absl::StatusOr<RawSession> session = OpenRawSession(listen(), "pigeon");
  ASSERT_TRUE(absl::IsFailedPrecondition(session.status())) << session.status();
  EXPECT_THAT(std::string(session.status().message()), HasSubstr("not offered by the client"));
}

TEST_P(SessionTest, AnotherKeyIsNotFound) {
  RawSession other = session_;
  other.key[0] ^= 1;
  EXPECT_TRUE(absl::IsNotFound(RawHeartbeat(listen(), other)));
  EXPECT_TRUE(absl::IsNotFound(CloseRawSession(listen(), other)));
  EXPECT_TRUE(RawHeartbeat(listen(), session_).ok());
}

TEST_P(SessionTest, AWrongLayoutIsRefusedNamingTheField) {
  const absl::StatusOr<RawNamespace> space = OpenRawNamespace(
      listen(), session_, "v1;layers=0;kv_heads=2;head_dim=64;hidden=256;block_tokens=64;kv=bf16;e=bf16;key=pre-rope");
  ASSERT_TRUE(absl::IsInvalidArgument(space.status())) << space.status();
  EXPECT_THAT(std::string(space.status().message()), HasSubstr("layers"));
}

TEST_P(SessionTest, TheNamespaceIsSaltedAndTheSameForAllSessions) {
  const Digest unsalted = Namespace(Digest{}, Sha256Of("weights"), std::nullopt, kSmallLayout);
  EXPECT_NE(space_.bytes, unsalted);
  const absl::StatusOr<RawSession> second = OpenRawSession(listen(), GetParam());
  ASSERT_TRUE(second.ok());
  EXPECT_EQ(OpenRawNamespace(listen(), *second, kSmallLayout)->bytes, space_.bytes);
  EXPECT_NE(OpenRawNamespace(listen(), *second, kSmallLayout, "others")->bytes, space_.bytes);
}

TEST_P(SessionTest, AMessageBeforeTheHelloCutsOff) {
  RawConnection stranger(session_, 1 << 20);
  stranger.Send(wire::CoverageRequest{1, 0, {{space_.id, Chain(1)}}});
  EXPECT_TRUE(stranger.DriveUntilClosed());
}

TEST_P(SessionTest, AHelloWithAnotherKeyCutsOff) {
  RawConnection stranger(session_, 1 << 20);
  std::string key = session_.key;
  key[5] ^= 1;
  EXPECT_FALSE(stranger.Hello(key));
}

TEST_P(SessionTest, AHelloOfAClosedSessionCutsOff) {
  ASSERT_TRUE(CloseRawSession(listen(), session_).ok());
  RawConnection late(session_, 1 << 20);
  // The proof is the first thing that shows: the server does not tell which sessions there are.
  EXPECT_TRUE(!late.Hello() || late.DriveUntilClosed());
}

TEST_P(SessionTest, CloseSessionClosesItsConnectionsAndFreesItsOffers) {
  const std::vector<Digest> blocks = Chain(1);
  Offer(*client_, 1, blocks, {{Kind::kE, 0}});
  ASSERT_TRUE(CloseRawSession(listen(), session_).ok());
  EXPECT_TRUE(client_->DriveUntilClosed());
  ConnectClient();
  EXPECT_EQ(Offer(*client_, 2, blocks, {{Kind::kE, 0}}).blocks.at(0).want_e[0], 1u);
}

TEST_P(SessionTest, MessagesThatAreNoMessagesCutOffTheSenderOnly) {
  const std::vector<Digest> blocks = Chain(2);
  Store(*client_, blocks, {{Kind::kE, 0}});
  std::mt19937_64 random(20240501);
  const std::vector<std::vector<std::byte>> good = {
      wire::Encode(MakeFetch(1, blocks, {{Kind::kE, 0}})),
      wire::Encode(wire::CoverageRequest{2, 0, {{space_.id, blocks}}}),
      wire::Encode(MakeFill(*client_, 3, 4, blocks, {{Kind::kE, 0}})),
      wire::Encode(wire::SealRequest{5, 4, true}),
      wire::Encode(wire::ActionRequest{6, space_.id, wire::BlockAction::kUnpin, blocks}),
  };
  int cut_off = 0;
  std::unique_ptr<RawConnection> attacker = NewConnection(1 << 20);
  const int rounds = GetParam() != "ucx" ? 2000 : 200;  // a new connection takes UCX 50 ms
  for (int round = 0; round < rounds; ++round) {
    std::vector<std::byte> bytes = good[random() % good.size()];
    const size_t changes = 1 + random() % 4;
    for (size_t i = 0; i < changes; ++i) bytes[random() % bytes.size()] = static_cast<std::byte>(random());
    if (random() % 4 == 0) bytes.resize(random() % bytes.size());
    attacker->SendBytes(bytes);
    // Either the message ends the connection, or it is taken and the next one is answered.
    const uint64_t probe = 1'000'000 + round;
    attacker->Send(wire::CancelRequest{probe});
    bool answered = false;
    while (!answered) {
      const std::optional<wire::Message> message = attacker->Next();
      if (!message.has_value()) break;
      const auto* cancelled = std::get_if<wire::Cancelled>(&*message);
      answered = cancelled != nullptr && cancelled->request_id == probe;
    }
    if (answered) continue;
    ASSERT_TRUE(attacker->closed());
    ++cut_off;
    ASSERT_TRUE(RawHeartbeat(listen(), session_).ok());
    attacker = NewConnection(1 << 20);
  }
  EXPECT_GT(cut_off, rounds / 4);
  EXPECT_LT(cut_off, rounds);
  attacker.reset();
  EXPECT_EQ(FetchAndCheck(*client_, MakeFetch(100, blocks, {{Kind::kE, 0}})).size(), 2u);
}

TEST_P(SessionTest, AConnectionThatDropsInTheMiddleOfAFetchGivesEverythingBack) {
  const std::vector<Digest> blocks = Chain(64);
  const std::vector<Extent> extents = {{Kind::kKv, 0}, {Kind::kKv, 1}};
  Store(*client_, blocks, extents);
  for (int i = 0; i < 10; ++i) {
    std::unique_ptr<RawConnection> dropped = NewConnection();
    dropped->Send(MakeFetch(1, blocks, extents));
    dropped->Expect<wire::FetchAccepted>();
    dropped.reset();
  }
  EXPECT_TRUE(WaitForMetric("droidspeak_inflight_bytes 0"));
  // Blocks without references can be removed and stored again, and the pool takes four times its size in all.
  for (uint32_t seed = 1; seed <= 60; ++seed) {
    Store(*client_, Chain(64, seed), extents);
    if (HasFailure()) return;
  }
}

INSTANTIATE_TEST_SUITE_P(Transports, SessionTest, testing::Values("local", "tcp", "ucx"), TransportName);

class LeaseTest : public ServiceTest {
 protected:
  void SetUp() override {
    options_.lease = absl::Milliseconds(300);
    options_.max_sessions = 2;
    ASSERT_NO_FATAL_FAILURE(StartServer());
  }
};

TEST_P(LeaseTest, AnExpiredSessionLosesItsConnectionAndItsOffers) {
  ConnectClient();
  const std::vector<Digest> blocks = Chain(1);
  Offer(*client_, 1, blocks, {{Kind::kE, 0}});
  EXPECT_TRUE(client_->DriveUntilClosed());
  EXPECT_TRUE(absl::IsNotFound(RawHeartbeat(server_->addresses().listen, session_)));
  ConnectClient();
  EXPECT_EQ(Offer(*client_, 2, blocks, {{Kind::kE, 0}}).blocks.at(0).want_e[0], 1u);
}

TEST_P(LeaseTest, HeartbeatsKeepASession) {
  ConnectClient();
  const absl::Time until = absl::Now() + absl::Milliseconds(1500);
  while (absl::Now() < until) {
    ASSERT_TRUE(RawHeartbeat(server_->addresses().listen, session_).ok());
    client_->DriveUntil([] { return false; }, absl::Milliseconds(30));
  }
  EXPECT_FALSE(client_->closed());
}

TEST_P(LeaseTest, TooManySessionsAreRefusedUntilOneExpires) {
  const std::string& listen = server_->addresses().listen;
  ASSERT_TRUE(OpenRawSession(listen, GetParam()).ok());
  ASSERT_TRUE(OpenRawSession(listen, GetParam()).ok());
  const absl::StatusOr<RawSession> third = OpenRawSession(listen, GetParam());
  EXPECT_TRUE(absl::IsResourceExhausted(third.status())) << third.status();
  const absl::Time deadline = absl::Now() + kLimit;
  while (!OpenRawSession(listen, GetParam()).ok()) ASSERT_LT(absl::Now(), deadline);
}

INSTANTIATE_TEST_SUITE_P(Transports, LeaseTest, testing::Values("local", "tcp", "ucx"), TransportName);

}  // namespace
}  // namespace droidspeak
