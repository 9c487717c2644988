// SPDX-License-Identifier: Apache-2.0
#include "cacheserver/tiers/records.h"

#include <random>
#include <string>

#include "gtest/gtest.h"

namespace droidspeak {
namespace {

BlockRow SomeRow() {
  BlockRow row;
  row.block = {7, Sha256Of("block")};
  row.parent = Sha256Of("parent");
  row.namespace_id = 3;
  row.position = 11;
  row.expiry = 1'700'000'000;
  row.layers = 100;
  for (uint16_t layer : {99, 0, 63, 64}) row.Add({Kind::kKv, layer}, 1000u + layer);
  row.Add({Kind::kE, 5}, 42);
  return row;
}

std::string Text(const std::array<char, ExtentHeader::kBytes>& header, size_t payload) {
  return std::string(header.data(), header.size()) + std::string(payload, 'x');
}

TEST(RecordsTest, BlockRowComesBackAsItWas) {
  const BlockRow row = SomeRow();
  const absl::StatusOr<BlockRow> back = BlockRow::Decode(BlockRowKey(row.block), row.Encode());
  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_EQ(back->block, row.block);
  EXPECT_EQ(back->parent, row.parent);
  EXPECT_EQ(back->namespace_id, 3);
  EXPECT_EQ(back->position, 11);
  EXPECT_EQ(back->expiry, row.expiry);
  EXPECT_EQ(back->bits, row.bits);
  EXPECT_EQ(back->checksums[0], (std::vector<uint64_t>{1000, 1063, 1064, 1099}));
  EXPECT_EQ(back->checksums[1], std::vector<uint64_t>{42});
}

TEST(RecordsTest, AnyFlippedBitOrCutOfABlockRowIsFound) {
  const std::string key = BlockRowKey(SomeRow().block);
  const std::string bytes = SomeRow().Encode();
  for (size_t i = 0; i < bytes.size(); ++i) {
    std::string bad = bytes;
    bad[i] = static_cast<char>(bad[i] ^ (1 << (i % 8)));
    EXPECT_TRUE(absl::IsDataLoss(BlockRow::Decode(key, bad).status())) << i;
    EXPECT_TRUE(absl::IsDataLoss(BlockRow::Decode(key, bytes.substr(0, i)).status())) << i;
  }
  EXPECT_FALSE(BlockRow::Decode(BlockRowKey({8, SomeRow().block.hash}), bytes).ok());
}

TEST(RecordsTest, NamespaceRowComesBackAsItWas) {
  NamespaceRow row{5, 2, Sha256Of("name"), {}, "tenant-a"};
  row.layout =
      *Layout::Parse("v1;layers=32;kv_heads=8;head_dim=128;hidden=4096;block_tokens=256;kv=bf16;e=bf16;key=pre-rope");
  const absl::StatusOr<NamespaceRow> back = NamespaceRow::Decode(NamespaceRowKey(5), row.Encode());
  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_EQ(back->id, 5);
  EXPECT_EQ(back->tenant, 2);
  EXPECT_EQ(back->name, row.name);
  EXPECT_EQ(back->layout, row.layout);
  EXPECT_EQ(back->model, std::nullopt);
  row.model = Sha256Of("model");
  EXPECT_EQ(NamespaceRow::Decode(NamespaceRowKey(5), row.Encode())->model, row.model);
}

TEST(RecordsTest, PinRowComesBackAndNotUnderAnothersKey) {
  const PinRow row{{7, Sha256Of("block")}, 3};
  const absl::StatusOr<PinRow> back = PinRow::Decode(PinRowKey(row.block), row.Encode());
  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_EQ(back->block, row.block);
  EXPECT_EQ(back->namespace_id, 3);
  EXPECT_TRUE(absl::IsDataLoss(PinRow::Decode(PinRowKey({8, row.block.hash}), row.Encode()).status()));
  EXPECT_TRUE(absl::IsDataLoss(PinRow::Decode(PinRowKey(row.block), row.Encode().substr(1)).status()));
}

// The seal of nothing under no key, as a fuzzer found it.
TEST(RecordsTest, SealedRowsWithoutAKeyAreRefused) {
  const std::string sealed = "\xc2\x94\xd3\x38\x05\x80\x06\x2d";
  EXPECT_TRUE(absl::IsDataLoss(NamespaceRow::Decode("", sealed).status()));
  EXPECT_TRUE(absl::IsDataLoss(BlockRow::Decode("", sealed).status()));
  EXPECT_TRUE(absl::IsDataLoss(PinRow::Decode("", sealed).status()));
}

TEST(RecordsTest, StoreRowOfAnotherVersionIsReadAsFarAsItsVersion) {
  StoreRow row;
  row.format_version = 99;
  EXPECT_EQ(StoreRow::Decode(row.Encode())->format_version, 99);
  EXPECT_FALSE(StoreRow::Decode("").ok() && StoreRow::Decode("")->format_version == kStoreFormatVersion);
}

TEST(RecordsTest, ExtentHeaderComesBackAndRefusesOtherLengthsAndMagic) {
  const ExtentHeader header{{7, Sha256Of("block")}, {Kind::kE, 200}, 10, 0xabcdef};
  const std::string value = Text(header.Encode(), 10);
  const std::optional<ExtentHeader> back = ExtentHeader::Decode(value);
  ASSERT_TRUE(back.has_value());
  EXPECT_EQ(back->block, header.block);
  EXPECT_EQ(back->extent, header.extent);
  EXPECT_EQ(back->checksum, header.checksum);
  EXPECT_FALSE(ExtentHeader::Decode(Text(header.Encode(), 9)).has_value());
  EXPECT_FALSE(ExtentHeader::Decode(value.substr(0, 63)).has_value());
  std::string bad = value;
  bad[0] = 'x';
  EXPECT_FALSE(ExtentHeader::Decode(bad).has_value());
  bad = value;
  bad[4] = 9;  // version
  EXPECT_FALSE(ExtentHeader::Decode(bad).has_value());
}

TEST(RecordsTest, KeysOfTenantsAndLayersLieInOrder) {
  const Digest hash = Sha256Of("block");
  EXPECT_LT(ExtentKey({1, hash}, {Kind::kKv, 255}), ExtentKey({256, hash}, {Kind::kKv, 0}));
  EXPECT_LT(ExtentKey({1, hash}, {Kind::kKv, 9}), ExtentKey({1, hash}, {Kind::kKv, 10}));
  EXPECT_LT(NamespaceRowKey(0xffffffff), PinRowKey({0, {}}));
  EXPECT_LT(PinRowKey({0xffffffff, hash}), StoreRowKey());
  EXPECT_LT(StoreRowKey(), BlockRowKey({0, {}}));
}

}  // namespace
}  // namespace droidspeak
