// SPDX-License-Identifier: Apache-2.0
// Clients that have passed the hello and then say anything: the server answers, refuses or cuts them off, stays
// alive, and others' bytes stay right.
#include <gmock/gmock.h>

#include <cstring>
#include <random>

#include "common/transport/hello.h"
#include "common/transport/wire.h"
#include "tests/cacheserver/service/service_fixture.h"
#include "tests/support/count.h"
#include "tests/transport/random_messages.h"

namespace droidspeak {
namespace {

constexpr uint64_t kRegionBytes = 1 << 20;
const std::vector<Extent> kWitnessExtents = {{Kind::kKv, 0}, {Kind::kE, 3}};

class HostileMessagesTest : public ServiceTest {
 protected:
  void SetUp() override {
    options_.offer_lease = absl::Milliseconds(500);
    ASSERT_NO_FATAL_FAILURE(StartServer());
    ConnectClient();
    witness_ = Chain(8, /*seed=*/7);
    Store(*client_, witness_, kWitnessExtents);
    client_->Send(wire::ActionRequest{next_request_++, space_.id, wire::BlockAction::kPin, witness_});
    ASSERT_EQ(client_->Expect<wire::StatusAnswer>().count, witness_.size());
    for (uint32_t seed = 100; seed < 104; ++seed) chains_.push_back(Chain(16, seed));
    attacker_ = NewConnection(kRegionBytes);
  }

  uint64_t Pick(uint64_t limit) { return random_() % limit; }
  std::vector<Digest> PickBlocks() {
    const std::vector<Digest>& chain = chains_[Pick(chains_.size())];
    return {chain.begin(), chain.begin() + static_cast<ptrdiff_t>(1 + Pick(chain.size()))};
  }
  uint32_t PickSpace() { return Pick(16) == 0 ? static_cast<uint32_t>(random_()) : space_.id; }
  uint64_t PickRequest() { return Pick(64); }  // small numbers meet each other
  wire::LayerBits PickLayers() { return {Pick(16) == 0 ? random_() : random_() & 0xf}; }
  std::vector<wire::TransferItem> PickItems() {
    std::vector<wire::TransferItem> items;
    for (uint64_t i = Pick(4); i > 0; --i) {
      wire::TransferItem item = Item({Pick(2) == 0 ? Kind::kKv : Kind::kE, static_cast<uint16_t>(Pick(5))}, 0);
      if (Pick(8) == 0) item.first.region = static_cast<uint32_t>(random_());
      if (Pick(8) == 0) item.first.base = Pick(2) == 0 ? random_() : kRegionBytes - Pick(70'000);
      if (Pick(8) == 0) item.slot_stride = Pick(2) == 0 ? random_() : Pick(70'000);
      items.push_back(item);
    }
    return items;
  }
  std::vector<uint32_t> PickNumbers(size_t count) {
    std::vector<uint32_t> numbers(count);
    for (uint32_t& number : numbers) number = static_cast<uint32_t>(Pick(16) == 0 ? random_() : Pick(20));
    return numbers;
  }

  // A message that a client may send, about what there is or nearly.
  wire::Message Plausible() {
    switch (Pick(8)) {
      case 0:
        return wire::CoverageRequest{PickRequest(), static_cast<uint32_t>(Pick(50)), {{PickSpace(), PickBlocks()}}};
      case 1:
      case 2: {
        wire::FetchRequest fetch{PickRequest(),
                                 PickSpace(),
                                 static_cast<uint32_t>(Pick(100)),
                                 static_cast<uint32_t>(Pick(2)),
                                 Pick(2) == 0,
                                 PickItems(),
                                 PickBlocks(),
                                 {}};
        fetch.slots = PickNumbers(fetch.blocks.size());
        return fetch;
      }
      case 3: {
        wire::OfferRequest offer{PickRequest(), PickSpace(), PickLayers(), PickLayers(), {}};
        for (const Digest& block : PickBlocks()) {
          offer.blocks.push_back({block, PickBlocks().back(), static_cast<uint32_t>(Pick(20))});
        }
        return offer;
      }
      case 4: {
        wire::FillRequest fill{PickRequest(), PickRequest(), PickItems(), PickNumbers(Pick(16)), {}, {}};
        fill.slots = PickNumbers(fill.blocks.size());
        fill.checksums.resize(fill.items.size() * fill.blocks.size());
        return fill;
      }
      case 5:
        return wire::SealRequest{PickRequest(), PickRequest(), Pick(2) == 0};
      case 6:
        return wire::CancelRequest{PickRequest()};
      default:
        return wire::ActionRequest{PickRequest(), PickSpace(), static_cast<wire::BlockAction>(Pick(3)), PickBlocks()};
    }
  }

  // Bytes that are mostly no message.
  std::vector<std::byte> Malformed() {
    const bool plausible = Pick(2) == 0;
    std::vector<std::byte> bytes = wire::Encode(
        plausible ? Plausible() : wire::RandomMessage(random_, Pick(std::variant_size_v<wire::Message>), 4));
    for (uint64_t changes = 1 + Pick(4); changes > 0; --changes) {
      const uint32_t value = Pick(2) == 0 ? static_cast<uint32_t>(random_()) : static_cast<uint32_t>(Pick(5000));
      std::memcpy(&bytes[Pick(bytes.size() - 3)], &value, Pick(4) + 1);
    }
    if (Pick(4) == 0) bytes.resize(Pick(bytes.size()) + 1);
    return bytes;
  }

  // Whether the attacker is still served; it hears all that is due to it.
  bool StillServed() {
    const uint64_t probe = 1'000'000 + probes_++;
    attacker_->Send(wire::CancelRequest{probe});
    while (const std::optional<wire::Message> message = attacker_->Next()) {
      const auto* cancelled = std::get_if<wire::Cancelled>(&*message);
      if (cancelled != nullptr && cancelled->request_id == probe) return true;
    }
    EXPECT_TRUE(attacker_->closed()) << "neither an answer nor an end";
    return false;
  }

  std::mt19937_64 random_;
  std::vector<Digest> witness_;
  std::vector<std::vector<Digest>> chains_;
  std::unique_ptr<RawConnection> attacker_;
  uint64_t probes_ = 0;
};

TEST_P(HostileMessagesTest, TheServerStaysRightWhateverItIsTold) {
  const int cases = GetParam() == "tcp" ? Count(60'000, 600'000) : Count(40'000, 400'000);
  const uint64_t seed = Seed();
  random_.seed(seed);
  int cut_off = 0;
  for (int i = 0; i < cases; ++i) {
    SCOPED_TRACE(testing::Message() << "message " << i << " of seed " << seed);
    const bool malformed = Pick(10) == 0;
    malformed ? attacker_->SendBytes(Malformed()) : attacker_->Send(Plausible());
    if ((malformed || i % 64 == 0) && !StillServed()) {
      ++cut_off;
      attacker_ = NewConnection(kRegionBytes);
    }
    if (i % 5000 == 4999) {
      FetchAndCheck(*client_, MakeFetch(next_request_++, witness_, kWitnessExtents));
      ASSERT_TRUE(RawHeartbeat(server_->addresses().listen, session_).ok());
    }
    if (HasFailure()) return;
  }
  EXPECT_GT(cut_off, cases / 40);
  EXPECT_LT(cut_off, cases / 10);
  attacker_.reset();
  EXPECT_TRUE(WaitForMetric("droidspeak_inflight_bytes 0"));
  EXPECT_EQ(Metric("droidspeak_sessions"), 1);
  EXPECT_EQ(Metric(R"(droidspeak_rejected_total{reason="invalid_argument"})") >= cut_off, true);
  EXPECT_EQ(FetchAndCheck(*client_, MakeFetch(next_request_++, witness_, kWitnessExtents)).size(), 16u);
}

INSTANTIATE_TEST_SUITE_P(Transports, HostileMessagesTest, testing::Values("local", "tcp"), TransportName);

// What is the proof of one connection says nothing on another.
class HostileHelloTest : public HostileMessagesTest {};

TEST_P(HostileHelloTest, AReplayedProofIsCutOff) {
  SessionKey key;
  std::memcpy(key.data(), session_.key.data(), key.size());
  const int cases = Count(20, 200);
  std::vector<std::byte> recorded;
  std::vector<std::byte> first_hello;
  for (int i = 0; i < cases; ++i) {
    RawConnection connection(session_, kRegionBytes);
    ClientHandshake handshake(session_.id, 1, key);
    if (recorded.empty()) first_hello = handshake.Start();
    connection.SendBytes(i % 2 == 0 || recorded.empty() ? first_hello : handshake.Start());
    const std::optional<wire::Message> hello = connection.Next();
    ASSERT_TRUE(hello.has_value());
    if (recorded.empty()) {
      recorded = handshake.Next(wire::Encode(*hello)).value();
    }
    connection.SendBytes(recorded);
    const std::optional<wire::Message> answer = connection.Next();
    if (i == 0) {
      EXPECT_TRUE(answer.has_value() && std::holds_alternative<wire::HelloDone>(*answer));
    } else {
      EXPECT_FALSE(answer.has_value()) << "a proof was taken a second time";
      EXPECT_TRUE(connection.closed());
    }
  }
}

TEST_P(HostileHelloTest, AnotherSessionsKeyIsCutOff) {
  const absl::StatusOr<RawSession> other = OpenRawSession(server_->addresses().listen, GetParam());
  ASSERT_TRUE(other.ok()) << other.status();
  RawConnection connection(session_, kRegionBytes);
  EXPECT_FALSE(connection.Hello(other->key));
  // Nor does a session reach the namespaces that another has opened.
  RawConnection stranger(*other, kRegionBytes);
  ASSERT_TRUE(stranger.Hello());
  stranger.Send(wire::CoverageRequest{1, 0, {{space_.id, witness_}}});
  EXPECT_EQ(stranger.Expect<wire::StatusAnswer>().code, static_cast<uint32_t>(absl::StatusCode::kNotFound));
}

TEST_P(HostileHelloTest, OtherVersionsAreCutOffBeforeAndAfterTheHello) {
  for (const uint16_t version : {0, 2, 0xffff}) {
    std::vector<std::byte> hello = wire::Encode(wire::ClientHello{session_.id, 1, {}});
    std::memcpy(&hello[offsetof(wire::Header, version)], &version, sizeof version);
    RawConnection connection(session_, kRegionBytes);
    connection.SendBytes(hello);
    EXPECT_TRUE(connection.DriveUntilClosed()) << version;

    const std::unique_ptr<RawConnection> later = NewConnection(kRegionBytes);
    std::vector<std::byte> coverage = wire::Encode(wire::CoverageRequest{1, 0, {{space_.id, witness_}}});
    std::memcpy(&coverage[offsetof(wire::Header, version)], &version, sizeof version);
    later->SendBytes(coverage);
    EXPECT_FALSE(later->Next().has_value()) << "version " << version << " was answered";
    EXPECT_TRUE(later->closed());
  }
  for (const uint32_t protocol : {0u, 2u, ~0u}) {
    const absl::StatusOr<RawSession> session = OpenRawSession(server_->addresses().listen, GetParam(), protocol);
    EXPECT_TRUE(absl::IsFailedPrecondition(session.status())) << protocol << ": " << session.status();
  }
}

INSTANTIATE_TEST_SUITE_P(Transports, HostileHelloTest, testing::Values("local", "tcp", "ucx"), TransportName);

}  // namespace
}  // namespace droidspeak
