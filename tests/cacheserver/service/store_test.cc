// SPDX-License-Identifier: Apache-2.0
// Offers, fills and seals through a whole server.
#include <gmock/gmock.h>

#include "tests/cacheserver/service/service_fixture.h"

namespace droidspeak {
namespace {

using testing::HasSubstr;

constexpr uint32_t Code(absl::StatusCode code) {
  return static_cast<uint32_t>(code);
}

class StoreServiceTest : public ServiceTest {
 protected:
  void SetUp() override {
    options_.offer_lease = absl::Milliseconds(300);
    ASSERT_NO_FATAL_FAILURE(StartServer());
    ConnectClient();
  }

  const std::vector<Extent> extents_ = {{Kind::kKv, 0}, {Kind::kE, 1}};
};

TEST_P(StoreServiceTest, AnOfferWantsWhatIsNotThere) {
  const std::vector<Digest> blocks = Chain(2);
  Store(*client_, {blocks[0]}, {{Kind::kKv, 0}});
  const wire::OfferAnswer answer = Offer(*client_, 50, blocks, extents_);
  ASSERT_EQ(answer.blocks.size(), 2u);
  EXPECT_EQ(answer.lease_ms, 300u);
  EXPECT_EQ(answer.blocks[0].want_kv[0], 0u);
  EXPECT_EQ(answer.blocks[0].busy_kv[0], 0u);
  EXPECT_EQ(answer.blocks[0].want_e[0], 0b10u);
  EXPECT_EQ(answer.blocks[1].want_kv[0], 0b1u);
}

TEST_P(StoreServiceTest, AWrongChecksumIsRefusedAndTheOthersAreTaken) {
  const std::vector<Digest> blocks = Chain(3);
  Offer(*client_, 50, blocks, extents_);
  wire::FillRequest fill = MakeFill(*client_, 51, 50, blocks, extents_);
  fill.checksums[1] ^= 1;  // KV of the second block
  client_->Send(fill);
  const auto filled = client_->Expect<wire::Filled>();
  EXPECT_EQ(filled.code, Code(absl::StatusCode::kDataLoss));
  EXPECT_EQ(filled.extents, 5u);
  client_->Send(wire::CoverageRequest{52, 0, {{space_.id, blocks}}});
  const auto coverage = client_->Expect<wire::CoverageAnswer>();
  ASSERT_EQ(coverage.blocks.size(), 3u);
  EXPECT_EQ(coverage.blocks[0].kv[0], 1u);
  EXPECT_EQ(coverage.blocks[1].kv[0], 0u);
  EXPECT_EQ(coverage.blocks[1].e[0], 2u);
  EXPECT_TRUE(WaitForMetric(R"(droidspeak_checksum_errors_total{where="fill"} 1)"));
}

TEST_P(StoreServiceTest, WhatAnotherFillsIsBusyUntilItsLeaseEnds) {
  const std::vector<Digest> blocks = Chain(1);
  const std::unique_ptr<RawConnection> other = NewConnection();
  EXPECT_EQ(Offer(*other, 60, blocks, extents_).blocks.at(0).want_kv[0], 1u);
  EXPECT_EQ(Offer(*client_, 61, blocks, extents_).blocks.at(0).busy_kv[0], 1u);
  const absl::Time deadline = absl::Now() + kLimit;
  uint64_t wanted = 0;
  for (uint64_t id = 62; wanted == 0 && absl::Now() < deadline; ++id) {
    wanted = Offer(*client_, id, blocks, extents_).blocks.at(0).want_kv[0];
    client_->DriveUntil([] { return false; }, absl::Milliseconds(20));
  }
  EXPECT_EQ(wanted, 1u);
  // The first filler is too late.
  other->Send(MakeFill(*other, 63, 60, blocks, extents_));
  EXPECT_EQ(other->Expect<wire::Filled>().extents, 0u);
}

TEST_P(StoreServiceTest, AnOfferEndsWithItsConnection) {
  const std::vector<Digest> blocks = Chain(1);
  std::unique_ptr<RawConnection> other = NewConnection();
  EXPECT_EQ(Offer(*other, 60, blocks, extents_).blocks.at(0).want_kv[0], 1u);
  other.reset();
  const absl::Time deadline = absl::Now() + kLimit;
  uint64_t wanted = 0;
  for (uint64_t id = 61; wanted == 0 && absl::Now() < deadline; ++id) {
    wanted = Offer(*client_, id, blocks, extents_).blocks.at(0).want_kv[0];
    client_->Send(wire::CancelRequest{id});
    EXPECT_EQ(client_->Expect<wire::Cancelled>().request_id, id);
  }
  EXPECT_EQ(wanted, 1u);
}

TEST_P(StoreServiceTest, FillsOfUnknownOffersAndBlocksAreRefused) {
  const std::vector<Digest> blocks = Chain(1);
  client_->Send(MakeFill(*client_, 70, 999, blocks, extents_));
  EXPECT_EQ(client_->Expect<wire::StatusAnswer>().code, Code(absl::StatusCode::kNotFound));
  Offer(*client_, 71, blocks, extents_);
  wire::FillRequest fill = MakeFill(*client_, 72, 71, blocks, extents_);
  fill.blocks[0] = 1;
  client_->Send(fill);
  const auto refused = client_->Expect<wire::StatusAnswer>();
  EXPECT_EQ(refused.code, Code(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(refused.text, HasSubstr("block 1"));
  client_->Send(wire::SealRequest{73, 999, false});
  EXPECT_EQ(client_->Expect<wire::StatusAnswer>().code, Code(absl::StatusCode::kNotFound));
}

TEST_P(StoreServiceTest, ASourceOutsideTheRegionIsRefused) {
  const std::vector<Digest> blocks = Chain(1);
  Offer(*client_, 71, blocks, extents_);
  wire::FillRequest fill = MakeFill(*client_, 72, 71, blocks, extents_);
  fill.items[0].first.base = client_->memory_bytes();
  client_->Send(fill);
  EXPECT_EQ(client_->Expect<wire::Filled>().code, Code(absl::StatusCode::kInvalidArgument));
  client_->Send(wire::CoverageRequest{73, 0, {{space_.id, blocks}}});
  EXPECT_EQ(client_->Expect<wire::CoverageAnswer>().blocks.at(0).kv[0], 0u);
}

TEST_P(StoreServiceTest, StoringAgainChangesNothing) {
  const std::vector<Digest> blocks = Chain(1);
  Store(*client_, blocks, extents_);
  Offer(*client_, 80, blocks, extents_);
  client_->Send(MakeFill(*client_, 81, 80, blocks, extents_));
  const auto filled = client_->Expect<wire::Filled>();
  EXPECT_EQ(filled.code, 0u) << filled.text;
  EXPECT_EQ(filled.extents, 0u);
}

TEST_P(StoreServiceTest, ADurableSealWithoutADiskIsRefused) {
  const std::vector<Digest> blocks = Chain(1);
  Offer(*client_, 90, blocks, extents_);
  client_->Send(MakeFill(*client_, 91, 90, blocks, extents_));
  client_->Expect<wire::Filled>();
  client_->Send(wire::SealRequest{92, 90, true});
  EXPECT_EQ(client_->Expect<wire::Sealed>().code, Code(absl::StatusCode::kFailedPrecondition));
}

TEST_P(StoreServiceTest, CancellingAnOfferWithAFillThatHasNotBegunEndsBothAndTheConnectionGoesOn) {
  const std::vector<Digest> blocks = Chain(2);
  for (uint64_t id = 100; id < 400; id += 3) {
    Offer(*client_, id, blocks, extents_);
    const wire::FillRequest fill = MakeFill(*client_, id + 1, id, blocks, extents_);
    client_->Send(fill);
    client_->Send(wire::CancelRequest{id});
    // Both are answered, the fill perhaps as done.
    bool offer_ended = false;
    bool fill_ended = false;
    while (!offer_ended || !fill_ended) {
      const std::optional<wire::Message> message = client_->Next();
      ASSERT_TRUE(message.has_value()) << "the connection is gone";
      const auto* cancelled = std::get_if<wire::Cancelled>(&*message);
      offer_ended |= cancelled != nullptr && cancelled->request_id == id;
      fill_ended |=
          std::holds_alternative<wire::Filled>(*message) || (cancelled != nullptr && cancelled->request_id == id + 1);
    }
    client_->Send(wire::ActionRequest{id + 2, space_.id, wire::BlockAction::kRemove, blocks});
    client_->Expect<wire::StatusAnswer>();
  }
}

TEST_P(StoreServiceTest, ASealWaitsForTheFillsBeforeIt) {
  const std::vector<Digest> blocks = Chain(64);
  Offer(*client_, 100, blocks, extents_);
  client_->Send(MakeFill(*client_, 101, 100, blocks, extents_));
  client_->Send(wire::SealRequest{102, 100, false});
  const auto filled = client_->Expect<wire::Filled>();
  EXPECT_EQ(filled.code, 0u) << filled.text;
  EXPECT_EQ(filled.extents, 128u);
  EXPECT_EQ(client_->Expect<wire::Sealed>().code, 0u);
}

INSTANTIATE_TEST_SUITE_P(Transports, StoreServiceTest, testing::Values("local", "tcp", "ucx"), TransportName);

}  // namespace
}  // namespace droidspeak
