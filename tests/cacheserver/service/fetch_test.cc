// SPDX-License-Identifier: Apache-2.0
// Coverage, fetches and their ends, through a whole server.
#include <gmock/gmock.h>

#include <algorithm>
#include <cstring>

#include "tests/cacheserver/service/service_fixture.h"

namespace droidspeak {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Pair;

constexpr uint32_t Code(absl::StatusCode code) {
  return static_cast<uint32_t>(code);
}

class FetchTest : public ServiceTest {
 protected:
  void SetUp() override {
    ASSERT_NO_FATAL_FAILURE(StartServer());
    ConnectClient();
  }
};

TEST_P(FetchTest, CoverageShowsTheLayersThatWereStored) {
  const std::vector<Digest> blocks = Chain(3);
  Store(*client_, {blocks[0], blocks[1]}, {{Kind::kKv, 1}, {Kind::kKv, 3}, {Kind::kE, 2}});
  client_->Send(wire::CoverageRequest{next_request_, 100, {{space_.id, blocks}}});
  const auto answer = client_->Expect<wire::CoverageAnswer>();
  ASSERT_EQ(answer.blocks.size(), 3u);
  for (size_t i : {0, 1}) {
    EXPECT_EQ(answer.blocks[i].kv[0], 0b1010u);
    EXPECT_EQ(answer.blocks[i].e[0], 0b100u);
  }
  EXPECT_EQ(answer.blocks[2].kv[0] | answer.blocks[2].e[0], 0u);
}

TEST_P(FetchTest, CoverageOfANamespaceThatWasNotOpenedIsRefused) {
  client_->Send(wire::CoverageRequest{7, 0, {{99, Chain(1)}}});
  const auto answer = client_->Expect<wire::StatusAnswer>();
  EXPECT_EQ(answer.request_id, 7u);
  EXPECT_EQ(answer.code, Code(absl::StatusCode::kNotFound));
}

TEST_P(FetchTest, ItemsArriveInTheOrderAskedBlockByBlock) {
  const std::vector<Digest> blocks = Chain(3);
  Store(*client_, blocks, {{Kind::kKv, 0}, {Kind::kKv, 2}, {Kind::kE, 1}});
  const auto order =
      FetchAndCheck(*client_, MakeFetch(next_request_++, blocks, {{Kind::kE, 1}, {Kind::kKv, 2}, {Kind::kKv, 0}}));
  EXPECT_THAT(order, ElementsAre(Pair(0, 0), Pair(0, 1), Pair(0, 2), Pair(1, 0), Pair(1, 1), Pair(1, 2), Pair(2, 0),
                                 Pair(2, 1), Pair(2, 2)));
}

TEST_P(FetchTest, KAndVAndSlotsLandWhereTheRequestSays) {
  const std::vector<Digest> blocks = Chain(2);
  Store(*client_, blocks, {{Kind::kKv, 0}});
  std::memset(client_->memory(), 0x5a, client_->memory_bytes());
  wire::FetchRequest request = MakeFetch(next_request_++, blocks, {{Kind::kKv, 0}});
  const uint64_t half = space_.layout.k_bytes();
  request.items[0].first.base = 1 << 20;
  request.items[0].second.base = 2 << 20;
  request.items[0].slot_stride = half + 4096;
  request.slots = {5, 2};
  client_->Send(request);
  client_->Expect<wire::FetchAccepted>();
  client_->Expect<wire::LayerDone>();
  EXPECT_EQ(client_->Expect<wire::FetchDone>().code, 0u);
  std::vector<std::byte> expected(client_->memory_bytes(), std::byte{0x5a});
  for (size_t i = 0; i < 2; ++i) {
    const std::vector<std::byte> contents = Contents(blocks[i], {Kind::kKv, 0});
    const uint64_t offset = request.slots[i] * request.items[0].slot_stride;
    std::copy_n(contents.begin(), half, expected.begin() + (1 << 20) + offset);
    std::copy_n(contents.begin() + half, half, expected.begin() + (2 << 20) + offset);
  }
  EXPECT_EQ(std::memcmp(client_->memory(), expected.data(), expected.size()), 0);
}

TEST_P(FetchTest, TheRunEndsAtTheFirstHole) {
  const std::vector<Digest> blocks = Chain(4);
  Store(*client_, blocks, {{Kind::kKv, 0}});
  Store(*client_, {blocks[0], blocks[1]}, {{Kind::kKv, 1}});
  client_->Send(MakeFetch(next_request_++, blocks, {{Kind::kKv, 0}, {Kind::kKv, 1}}));
  const auto accepted = client_->Expect<wire::FetchAccepted>();
  EXPECT_EQ(accepted.blocks, 2u);
  EXPECT_EQ(accepted.tier_extents[1], 4u);
  EXPECT_EQ(accepted.tier_bytes[1], 4 * space_.layout.kv_bytes());
  EXPECT_EQ(client_->Expect<wire::LayerDone>().checksums.size(), 2u);
  EXPECT_EQ(client_->Expect<wire::LayerDone>().checksums.size(), 2u);
  EXPECT_EQ(client_->Expect<wire::FetchDone>().code, 0u);
}

TEST_P(FetchTest, NothingThereIsAcceptedWithNoBlocks) {
  client_->Send(MakeFetch(5, Chain(2), {{Kind::kE, 0}}));
  EXPECT_EQ(client_->Expect<wire::FetchAccepted>().blocks, 0u);
  EXPECT_EQ(client_->Expect<wire::FetchDone>().code, 0u);
}

TEST_P(FetchTest, ALayerBeyondTheLayoutIsRefused) {
  client_->Send(MakeFetch(5, Chain(2), {{Kind::kE, 4}}));
  const auto refused = client_->Expect<wire::StatusAnswer>();
  EXPECT_EQ(refused.code, Code(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(refused.text, HasSubstr("layer 4"));
}

TEST_P(FetchTest, ARangeThatOverflowsIsRefused) {
  wire::FetchRequest request = MakeFetch(5, Chain(1), {{Kind::kE, 0}});
  request.items[0].first.base = ~uint64_t{0} - 100;
  client_->Send(request);
  EXPECT_EQ(client_->Expect<wire::StatusAnswer>().code, Code(absl::StatusCode::kInvalidArgument));
}

TEST_P(FetchTest, ARangeOutsideTheRegionEndsTheFetch) {
  const std::vector<Digest> blocks = Chain(1);
  Store(*client_, blocks, {{Kind::kE, 0}});
  for (const bool other_region : {false, true}) {
    wire::FetchRequest request = MakeFetch(next_request_++, blocks, {{Kind::kE, 0}});
    request.items[0].first.base = client_->memory_bytes() - space_.layout.e_bytes() + 1;
    if (other_region) request.items[0].first = {9, 0};
    client_->Send(request);
    EXPECT_EQ(client_->Expect<wire::FetchAccepted>().blocks, 1u);
    EXPECT_EQ(client_->Expect<wire::FetchDone>().code, Code(absl::StatusCode::kInvalidArgument));
  }
}

TEST_P(FetchTest, NoTimeLeftIsRefused) {
  wire::FetchRequest request = MakeFetch(5, Chain(1), {{Kind::kE, 0}});
  request.remaining_ms = 0;
  client_->Send(request);
  EXPECT_EQ(client_->Expect<wire::StatusAnswer>().code, Code(absl::StatusCode::kDeadlineExceeded));
}

TEST_P(FetchTest, ManyFetchesAtOnceAllArriveWhole) {
  const std::vector<Digest> blocks = Chain(8);
  Store(*client_, blocks, {{Kind::kKv, 0}, {Kind::kE, 3}});
  constexpr int kFetches = 8;
  for (int i = 0; i < kFetches; ++i) {
    wire::FetchRequest request = MakeFetch(100 + i, blocks, {{Kind::kKv, 0}, {Kind::kE, 3}});
    request.priority = i % 2;
    for (wire::TransferItem& item : request.items) {
      item.first.base += i * (512 << 10);
      if (item.kind == Kind::kKv) item.second.base += i * (512 << 10);
    }
    client_->Send(request);
  }
  int ended = 0;
  while (ended < kFetches) {
    const std::optional<wire::Message> message = client_->Next();
    ASSERT_TRUE(message.has_value());
    if (const auto* done = std::get_if<wire::FetchDone>(&*message)) {
      EXPECT_EQ(done->code, 0u);
      ++ended;
    }
  }
  for (int i = 0; i < kFetches; ++i) {
    for (uint32_t block = 0; block < blocks.size(); ++block) {
      EXPECT_EQ(Landed(*client_, Item({Kind::kKv, 0}, i * (512 << 10)), block),
                Contents(blocks[block], {Kind::kKv, 0}));
    }
  }
}

TEST_P(FetchTest, CancelIsAnsweredOnceAndTheConnectionGoesOn) {
  const std::vector<Digest> blocks = Chain(32);
  Store(*client_, blocks, {{Kind::kKv, 0}, {Kind::kKv, 1}, {Kind::kKv, 2}});
  const uint64_t id = next_request_++;
  client_->Send(MakeFetch(id, blocks, {{Kind::kKv, 0}, {Kind::kKv, 1}, {Kind::kKv, 2}}));
  client_->Send(wire::CancelRequest{id});
  int cancelled = 0;
  while (cancelled == 0) {
    const std::optional<wire::Message> message = client_->Next();
    ASSERT_TRUE(message.has_value());
    if (const auto* answer = std::get_if<wire::Cancelled>(&*message)) {
      EXPECT_EQ(answer->request_id, id);
      ++cancelled;
    }
  }
  // Nothing of it moves any more: what is put there now stays.
  std::memset(client_->memory(), 0x77, client_->memory_bytes());
  const auto order = FetchAndCheck(*client_, MakeFetch(next_request_++, {blocks[0]}, {{Kind::kKv, 0}}));
  EXPECT_THAT(order, ElementsAre(Pair(0, 0)));
  const std::byte* rest = client_->memory() + space_.layout.kv_bytes();
  const std::byte* end = client_->memory() + client_->memory_bytes();
  EXPECT_TRUE(std::all_of(rest, end, [](std::byte byte) { return byte == std::byte{0x77}; }));
}

TEST_P(FetchTest, CancelOfWhatHasEndedIsAnswered) {
  client_->Send(wire::CancelRequest{12345});
  EXPECT_EQ(client_->Expect<wire::Cancelled>().request_id, 12345u);
}

TEST_P(FetchTest, PinnedBlocksAreCountedAndRemovedOnesAreMisses) {
  const std::vector<Digest> blocks = Chain(2);
  Store(*client_, blocks, {{Kind::kE, 0}});
  client_->Send(wire::ActionRequest{1000, space_.id, wire::BlockAction::kPin, blocks});
  EXPECT_EQ(client_->Expect<wire::StatusAnswer>().count, 2u);
  client_->Send(wire::ActionRequest{1001, space_.id, wire::BlockAction::kUnpin, blocks});
  EXPECT_EQ(client_->Expect<wire::StatusAnswer>().count, 2u);
  client_->Send(wire::ActionRequest{1002, space_.id, wire::BlockAction::kRemove, {blocks[1]}});
  EXPECT_EQ(client_->Expect<wire::StatusAnswer>().count, 1u);
  client_->Send(MakeFetch(1003, blocks, {{Kind::kE, 0}}));
  EXPECT_EQ(client_->Expect<wire::FetchAccepted>().blocks, 1u);
}

INSTANTIATE_TEST_SUITE_P(Transports, FetchTest, testing::Values("local", "tcp", "ucx"), TransportName);

// A server whose host pool holds a fraction of what is stored: the rest is in RocksDB.
class SpillTest : public ServiceTest {
 protected:
  void SetUp() override {
    options_.spill_folder = folder_.path() + "/spill";
    options_.host_pool_bytes = 16 << 20;
    ASSERT_NO_FATAL_FAILURE(StartServer());
    // 512 KiB a KV extent.
    ConnectClient(64 << 20,
                  "v1;layers=4;kv_heads=4;head_dim=128;hidden=256;block_tokens=256;kv=bf16;e=bf16;key=pre-rope");
  }
};

TEST_P(SpillTest, AFetchLargerThanThePoolArrivesWhole) {
  const std::vector<Digest> blocks = Chain(16);
  const std::vector<Extent> extents = {{Kind::kKv, 0}, {Kind::kKv, 1}, {Kind::kKv, 2}, {Kind::kKv, 3}};
  Store(*client_, blocks, extents, /*durable=*/true);
  const wire::FetchRequest request = MakeFetch(next_request_++, blocks, extents);
  EXPECT_EQ(FetchAndCheck(*client_, request).size(), 64u);
  const std::string metrics = HttpGet(server_->addresses().admin, "/metrics");
  EXPECT_THAT(metrics, HasSubstr(R"(droidspeak_fetch_bytes_total{kind="kv",tier="rocksdb")"));
}

TEST_P(SpillTest, DurableBlocksAreThereAfterARestart) {
  const std::vector<Digest> blocks = Chain(4);
  Store(*client_, blocks, {{Kind::kKv, 0}, {Kind::kE, 1}}, /*durable=*/true);
  client_.reset();
  const std::string secret_id = session_.secret_id;
  const uint64_t epoch = session_.epoch;
  EXPECT_TRUE(server_->Stop(absl::Seconds(1)).ok());
  server_.reset();
  StartServer();
  ConnectClient(64 << 20, space_.layout.ToString());
  EXPECT_EQ(session_.secret_id, secret_id);
  EXPECT_NE(session_.epoch, epoch);
  EXPECT_EQ(FetchAndCheck(*client_, MakeFetch(next_request_++, blocks, {{Kind::kKv, 0}, {Kind::kE, 1}})).size(), 8u);
}

INSTANTIATE_TEST_SUITE_P(Transports, SpillTest, testing::Values("local", "tcp", "ucx"), TransportName);

}  // namespace
}  // namespace droidspeak
