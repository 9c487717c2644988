// SPDX-License-Identifier: Apache-2.0
#include "client/src/region.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace droidspeak {
namespace {

using testing::HasSubstr;

constexpr uint64_t kRegionBytes = 1 << 20;

class PlaceItemsTest : public testing::Test {
 protected:
  PlaceItemsTest() {
    auto arena = HostArena::Create("test", kRegionBytes);
    EXPECT_TRUE(arena.ok()) << arena.status();
    memory_ = std::make_shared<RegionMemory>(7, *std::move(arena));
    region_ = std::make_unique<RegionImpl>(memory_, [](uint32_t) {});
    layout_ =
        *Layout::Parse("v1;layers=2;kv_heads=1;head_dim=16;hidden=32;block_tokens=16;kv=fp32;e=fp32;key=pre-rope");
  }
  TransferItem KvItem() const { return {Kind::kKv, 1, region_.get(), 0, layout_.k_bytes(), layout_.kv_bytes()}; }
  std::shared_ptr<RegionMemory> memory_;
  std::unique_ptr<RegionImpl> region_;
  Layout layout_;
};

TEST_F(PlaceItemsTest, SlotsUpToTheEndFit) {
  const uint32_t last = memory_->bytes() / layout_.kv_bytes() - 1;
  const auto placed = PlaceItems(layout_, {KvItem()}, {0, last});
  ASSERT_TRUE(placed.ok()) << placed.status();
  EXPECT_EQ((*placed)[0].second(last) + layout_.k_bytes(), memory_->data() + memory_->bytes());
}

TEST_F(PlaceItemsTest, SlotBeyondTheEndIsRefused) {
  const uint32_t beyond = memory_->bytes() / layout_.kv_bytes();
  const auto placed = PlaceItems(layout_, {KvItem()}, {beyond});
  EXPECT_THAT(std::string(placed.status().message()), HasSubstr("ends beyond its region"));
}

TEST_F(PlaceItemsTest, OverflowingStrideIsRefused) {
  TransferItem item = KvItem();
  item.slot_stride = ~uint64_t{0} / 2;
  EXPECT_TRUE(absl::IsInvalidArgument(PlaceItems(layout_, {item}, {3}).status()));
}

TEST_F(PlaceItemsTest, LayerBeyondTheLayoutIsRefused) {
  TransferItem item = KvItem();
  item.layer = 2;
  EXPECT_THAT(std::string(PlaceItems(layout_, {item}, {0}).status().message()), HasSubstr("layer 2"));
}

TEST_F(PlaceItemsTest, NoBlocksAreRefused) {
  EXPECT_TRUE(absl::IsInvalidArgument(PlaceItems(layout_, {KvItem()}, {}).status()));
}

TEST_F(PlaceItemsTest, QuarantineCoversExactlyTheNamedBytes) {
  memory_->Quarantine(4096, 8192);
  EXPECT_TRUE(memory_->IsQuarantined(8191, 8192));
  EXPECT_TRUE(memory_->IsQuarantined(0, 4097));
  EXPECT_FALSE(memory_->IsQuarantined(0, 4096));
  EXPECT_FALSE(memory_->IsQuarantined(8192, 9000));
}

}  // namespace
}  // namespace droidspeak
