// SPDX-License-Identifier: Apache-2.0
// The client against one real server, over each transport.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <numeric>

#include "absl/time/clock.h"
#include "tests/client/client_fixture.h"

namespace droidspeak {
namespace {

using testing::HasSubstr;

class OneServer : public ClientTest, public testing::WithParamInterface<const char*> {};

INSTANTIATE_TEST_SUITE_P(Transports, OneServer, testing::Values("local", "tcp", "ucx"),
                         [](const auto& param) { return std::string(param.param); });

TEST_P(OneServer, StoredLayersComeBackByteForByte) {
  StartServer("a", {std::string("--transport=") + GetParam()});
  const auto client = Connect(GetParam());
  ASSERT_NE(client, nullptr);
  const NamespaceHandle ns = Open(*client);
  const std::vector<uint32_t> tokens = Tokens(layout_, 20);
  StoreAll(*client, ns, tokens);
  for (int layer = 0; layer < 4; ++layer) {
    std::vector<std::byte> kv(20 * layout_.kv_bytes());
    EXPECT_EQ(*client->FetchKv(ns, tokens, layer, absl::MakeSpan(kv)), 20);
    EXPECT_EQ(kv, Stored(Kind::kKv, layer, 20)) << "layer " << layer;
  }
  std::vector<std::byte> e(20 * layout_.e_bytes());
  EXPECT_EQ(*client->FetchE(ns, tokens, 1, absl::MakeSpan(e)), 20);
  EXPECT_EQ(e, Stored(Kind::kE, 1, 20));
  EXPECT_EQ(*client->FetchE(ns, tokens, 2, absl::MakeSpan(e)), 0) << "E of layer 2 was never stored";
}

// More extents than a message to the server may have.
TEST_P(OneServer, AStoreTakesAsManyBlocksAsARequestMayHave) {
  StartServer("a", {std::string("--transport=") + GetParam(), "--host-pool=256MiB"});
  const auto client = Connect(GetParam());
  ASSERT_NE(client, nullptr);
  Digest weights;
  weights.bytes.fill(1);
  const auto layout =
      Layout::Parse("v1;layers=8;kv_heads=1;head_dim=2;hidden=2;block_tokens=1;kv=fp32;e=fp32;key=pre-rope");
  ASSERT_TRUE(layout.ok()) << layout.status();
  const auto ns = client->OpenNamespace(weights, nullptr, *layout);
  ASSERT_TRUE(ns.ok()) << ns.status();
  const std::vector<Digest> chain = BlockHashes(ns->bytes, Tokens(*layout, kMaxBlocksPerRequest), 1);
  const auto region = client->AllocateRegion(kMaxBlocksPerRequest * layout->kv_bytes());
  ASSERT_TRUE(region.ok()) << region.status();
  StoreOptions options{.blocks = chain, .parent = ns->bytes, .kv = {0xff}, .e = {0b10}};
  const auto store = client->StartStore(*ns, options);
  ASSERT_TRUE(store.ok()) << store.status();
  std::vector<TransferItem> items;
  for (int layer = 0; layer < 8; ++layer) {
    items.push_back({Kind::kKv, layer, region->get(), 0, layout->k_bytes(), layout->kv_bytes()});
  }
  items.push_back({Kind::kE, 1, region->get(), 0, 0, layout->e_bytes()});
  std::vector<int> blocks(kMaxBlocksPerRequest);
  std::iota(blocks.begin(), blocks.end(), 0);
  const absl::Status filled = (*store)->Fill(items, blocks, {blocks.begin(), blocks.end()});
  ASSERT_TRUE(filled.ok()) << filled;
  const absl::Time limit = absl::Now() + absl::Minutes(1);
  EXPECT_EQ((*store)->WaitFilled(limit), absl::OkStatus());
  EXPECT_EQ((*store)->Seal(/*durable=*/false, limit), absl::OkStatus());
  const auto coverage = client->Coverage(*ns, chain);
  ASSERT_EQ(coverage.size(), kMaxBlocksPerRequest);
  for (const BlockCoverage& block : coverage) {
    ASSERT_EQ(block.kv[0], 0xffu);
    ASSERT_EQ(block.e[0], 0b10u);
  }

  options.blocks.push_back(chain.back());
  EXPECT_TRUE(absl::IsInvalidArgument(client->StartStore(*ns, options).status()));
}

TEST_P(OneServer, CoverageNamesStoredLayersOnly) {
  StartServer("a", {std::string("--transport=") + GetParam()});
  const auto client = Connect(GetParam());
  ASSERT_NE(client, nullptr);
  const NamespaceHandle ns = Open(*client);
  const std::vector<uint32_t> stored = Tokens(layout_, 3);
  StoreAll(*client, ns, stored);
  const std::vector<uint32_t> longer = Tokens(layout_, 5);
  const auto coverage = client->Coverage(ns, BlockHashes(ns.bytes, longer, layout_.block_tokens));
  ASSERT_EQ(coverage.size(), 5u);
  for (int block = 0; block < 3; ++block) {
    EXPECT_EQ(coverage[block].kv[0], 0b1111u) << block;
    EXPECT_EQ(coverage[block].e[0], 0b0010u) << block;
  }
  EXPECT_EQ(coverage[3].kv[0], 0u);
  EXPECT_EQ(client->Coverage(Open(*client, 2), BlockHashes(ns.bytes, stored, layout_.block_tokens))[0].kv[0], 0u)
      << "another model's namespace has none of these blocks";
}

// K and V in places of their own, slots in an order of their own.
TEST_P(OneServer, WholePlanFetchPlacesEachPartInItsSlot) {
  StartServer("a", {std::string("--transport=") + GetParam()});
  const auto client = Connect(GetParam());
  ASSERT_NE(client, nullptr);
  const NamespaceHandle ns = Open(*client);
  const int blocks = 6;
  const std::vector<uint32_t> tokens = Tokens(layout_, blocks);
  StoreAll(*client, ns, tokens);

  const auto region = client->AllocateRegion(8 << 20);
  ASSERT_TRUE(region.ok()) << region.status();
  FetchOptions options;
  options.blocks = BlockHashes(ns.bytes, tokens, layout_.block_tokens);
  options.items.push_back({Kind::kE, 1, region->get(), 0, 0, layout_.e_bytes()});
  const uint64_t k_base = 1 << 20, v_base = 4 << 20;
  options.items.push_back({Kind::kKv, 3, region->get(), k_base, v_base, 2 * layout_.k_bytes()});
  options.slots = {5, 4, 3, 2, 1, 0};
  const auto fetch = client->StartFetch(ns, options);
  ASSERT_TRUE(fetch.ok()) << fetch.status();
  const absl::Time deadline = absl::Now() + absl::Seconds(20);
  EXPECT_EQ((*fetch)->AcceptedBlocks(deadline), blocks);
  EXPECT_EQ((*fetch)->Wait(1, blocks, deadline), blocks);
  EXPECT_EQ((*fetch)->Ready(0), blocks) << "items arrive in the order asked";

  const std::vector<std::byte> kv = Stored(Kind::kKv, 3, blocks);
  const std::vector<std::byte> e = Stored(Kind::kE, 1, blocks);
  for (int block = 0; block < blocks; ++block) {
    const uint32_t slot = options.slots[block];
    const std::byte* const base = (*region)->data();
    EXPECT_EQ(std::memcmp(base + slot * layout_.e_bytes(), &e[block * layout_.e_bytes()], layout_.e_bytes()), 0);
    const std::byte* const want = &kv[block * layout_.kv_bytes()];
    EXPECT_EQ(std::memcmp(base + k_base + slot * 2 * layout_.k_bytes(), want, layout_.k_bytes()), 0);
    EXPECT_EQ(std::memcmp(base + v_base + slot * 2 * layout_.k_bytes(), want + layout_.k_bytes(), layout_.k_bytes()),
              0);
  }
  const FetchStats stats = (*fetch)->stats();
  EXPECT_EQ(stats.kv_bytes, blocks * layout_.kv_bytes());
  EXPECT_EQ(stats.e_bytes, blocks * layout_.e_bytes());
  EXPECT_EQ(stats.tier_extents[1], 2u * blocks) << "all from the host pool";
}

TEST_P(OneServer, FetchEndsAtTheFirstHole) {
  StartServer("a", {std::string("--transport=") + GetParam()});
  const auto client = Connect(GetParam());
  ASSERT_NE(client, nullptr);
  const NamespaceHandle ns = Open(*client);
  StoreAll(*client, ns, Tokens(layout_, 4));
  const auto region = client->AllocateRegion(4 << 20);
  FetchOptions options;
  options.blocks = BlockHashes(ns.bytes, Tokens(layout_, 9), layout_.block_tokens);
  options.items.push_back({Kind::kKv, 0, region->get(), 0, layout_.k_bytes(), layout_.kv_bytes()});
  options.slots.resize(9);
  std::iota(options.slots.begin(), options.slots.end(), 0);
  const auto fetch = client->StartFetch(ns, options);
  ASSERT_TRUE(fetch.ok()) << fetch.status();
  const absl::Time deadline = absl::Now() + absl::Seconds(20);
  EXPECT_EQ((*fetch)->AcceptedBlocks(deadline), 4);
  EXPECT_EQ((*fetch)->Wait(0, 9, deadline), 4);
}

TEST_P(OneServer, WhatIsThereIsNotWantedAgain) {
  StartServer("a", {std::string("--transport=") + GetParam()});
  const auto client = Connect(GetParam());
  ASSERT_NE(client, nullptr);
  const NamespaceHandle ns = Open(*client);
  const std::vector<uint32_t> tokens = Tokens(layout_, 2);
  StoreOptions options;
  options.blocks = BlockHashes(ns.bytes, tokens, layout_.block_tokens);
  options.parent = ns.bytes;
  options.kv = {0b1111};
  const auto first = client->StartStore(ns, options);
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_EQ((*first)->wants()[1].kv[0], 0b1111u);
  const auto second = client->StartStore(ns, options);
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_EQ((*second)->wants()[1].kv[0], 0u);
  EXPECT_EQ((*second)->wants()[1].busy_kv[0], 0b1111u) << "the first store is filling it";
  ASSERT_TRUE((*first)->Seal(false, absl::Now() + absl::Seconds(20)).ok());
  StoreAll(*client, ns, tokens);
  const auto third = client->StartStore(ns, options);
  EXPECT_EQ((*third)->wants()[1].kv[0], 0u);
  EXPECT_EQ((*third)->wants()[1].busy_kv[0], 0u);
}

TEST_P(OneServer, DurableStoreSurvivesKill) {
  TemporaryFolder spill;
  ServerProcess& server =
      StartServer("a", {std::string("--transport=") + GetParam(), "--spill=" + spill.path() + "/store"});
  const std::vector<uint32_t> tokens = Tokens(layout_, 3);
  Digest bytes;
  {
    const auto client = Connect(GetParam());
    ASSERT_NE(client, nullptr);
    const NamespaceHandle ns = Open(*client);
    bytes = ns.bytes;
    const auto region = client->AllocateRegion(1 << 20);
    const std::vector<std::byte> kv = Stored(Kind::kKv, 0, 3);
    std::memcpy((*region)->data(), kv.data(), kv.size());
    StoreOptions options;
    options.blocks = BlockHashes(ns.bytes, tokens, layout_.block_tokens);
    options.parent = ns.bytes;
    options.kv = {1};
    const auto store = client->StartStore(ns, options);
    ASSERT_TRUE(store.ok()) << store.status();
    ASSERT_TRUE(
        (*store)
            ->Fill({{Kind::kKv, 0, region->get(), 0, layout_.k_bytes(), layout_.kv_bytes()}}, {0, 1, 2}, {0, 1, 2})
            .ok());
    const absl::Status sealed = (*store)->Seal(/*durable=*/true, absl::Now() + absl::Seconds(30));
    ASSERT_TRUE(sealed.ok()) << sealed;
  }
  server.Kill();
  addresses_.clear();
  StartServer("a", {std::string("--transport=") + GetParam(), "--spill=" + spill.path() + "/store"});
  const auto client = Connect(GetParam());
  ASSERT_NE(client, nullptr);
  const NamespaceHandle ns = Open(*client);
  EXPECT_EQ(ns.bytes, bytes);
  std::vector<std::byte> kv(3 * layout_.kv_bytes());
  EXPECT_EQ(*client->FetchKv(ns, tokens, 0, absl::MakeSpan(kv)), 3);
  EXPECT_EQ(kv, Stored(Kind::kKv, 0, 3));
}

TEST_F(ClientTest, WrongArgumentsAreRefusedByName) {
  StartServer("a");
  const auto client = Connect();
  ASSERT_NE(client, nullptr);
  const NamespaceHandle ns = Open(*client);
  const std::vector<uint32_t> tokens = Tokens(layout_, 2);
  const absl::Status layer = client->StoreKv(ns, tokens, 4, Stored(Kind::kKv, 0, 2));
  EXPECT_THAT(std::string(layer.message()), HasSubstr("layer 4"));
  const absl::Status size = client->StoreKv(ns, tokens, 0, Stored(Kind::kKv, 0, 1));
  EXPECT_THAT(std::string(size.message()), HasSubstr("full blocks have"));
}

}  // namespace
}  // namespace droidspeak
