// SPDX-License-Identifier: Apache-2.0
#include "engine/model/kv_slab.h"

#include <ATen/ops/equal.h>
#include <ATen/ops/randn_like.h>
#include <gtest/gtest.h>

#include "tests/engine/model/fixture.h"

namespace droidspeak {
namespace {

ModelConfig Shape() {
  return {.layers = 3, .heads = 4, .kv_heads = 2, .head_dim = 8};
}

TEST(KvSlabTest, BytesAreThoseOfAllLayersAndOverTheLimitIsRefused) {
  constexpr int64_t kBytes = 2 * 3 * 2 * 100 * 8 * 4;
  EXPECT_EQ(KvSlab::Create(Shape(), Dtype::kFloat32, 100, kBytes).value()->bytes(), kBytes);
  EXPECT_EQ(KvSlab::Create(Shape(), Dtype::kBfloat16, 100, kBytes).value()->bytes(), kBytes / 2);
  const auto over = KvSlab::Create(Shape(), Dtype::kFloat32, 100, kBytes - 1);
  EXPECT_EQ(over.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(FailsNaming(over.status(), {"100 tokens", "KiB"}));
  EXPECT_FALSE(KvSlab::Create(Shape(), Dtype::kFloat32, 0, kBytes).ok());
  EXPECT_FALSE(KvSlab::Create(Shape(), Dtype::kFloat32, int64_t{1} << 60, INT64_MAX).ok()) << "overflow";
}

TEST(KvSlabTest, ViewsAndAddressesAreTheSameMemory) {
  const auto slab = KvSlab::Create(Shape(), Dtype::kFloat32, 10, 1 << 20).value();
  slab->K(2)[1][7][3] = 5;
  slab->V(1)[0][9][0] = 6;
  EXPECT_EQ(reinterpret_cast<float*>(slab->KAddress(2, 1, 7))[3], 5);
  EXPECT_EQ(reinterpret_cast<float*>(slab->VAddress(1, 0, 9))[0], 6);
  EXPECT_EQ(slab->VAddress(2, 1, 9) + 8 * sizeof(float), slab->KAddress(0, 0, 0) + slab->bytes());
}

TEST(KvSlabTest, RunsAreDisjointAndFullMeansExhausted) {
  const auto slab = KvSlab::Create(Shape(), Dtype::kFloat32, 100, 1 << 20).value();
  const SlotRun a = slab->Allocate(60).value(), b = slab->Allocate(40).value();
  EXPECT_TRUE(a.first + a.count <= b.first || b.first + b.count <= a.first);
  EXPECT_EQ(slab->used_slots(), 100);
  EXPECT_EQ(slab->Allocate(1).status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(slab->Allocate(0).status().code(), absl::StatusCode::kInvalidArgument);
  slab->Release(a);
  EXPECT_EQ(slab->used_slots(), 40);
  EXPECT_EQ(slab->Allocate(61).status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(slab->Allocate(60).value().count, 60);
}

TEST(KvSlabTest, ReleasedNeighboursBecomeOneRunInAnyOrder) {
  const auto slab = KvSlab::Create(Shape(), Dtype::kFloat32, 90, 1 << 20).value();
  for (const auto& order : {std::array{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}}) {
    std::vector<SlotRun> runs;
    for (int i = 0; i < 3; ++i) runs.push_back(slab->Allocate(30).value());
    for (const int i : order) slab->Release(runs[i]);
    const auto all = slab->Allocate(90);
    ASSERT_TRUE(all.ok());
    slab->Release(*all);
  }
}

TEST(KvSlabTest, ARunGrowsWhereTheNextSlotsAreFree) {
  const auto slab = KvSlab::Create(Shape(), Dtype::kFloat32, 100, 1 << 20).value();
  SlotRun a = slab->Allocate(20).value(), b = slab->Allocate(30).value();
  EXPECT_FALSE(slab->Extend(a, 21));
  EXPECT_EQ(a.count, 20);
  EXPECT_TRUE(slab->Extend(b, 80));
  EXPECT_EQ(slab->used_slots(), 100);
  EXPECT_FALSE(slab->Extend(b, 81));
  slab->Release({.first = b.first + 30, .count = 50});  // a part
  b.count = 30;
  slab->Release(b);
  EXPECT_TRUE(slab->Extend(a, 100));
  slab->Release(a);
  EXPECT_EQ(slab->used_slots(), 0);
}

TEST(KvSlabTest, RowsAreCopiedInAllLayersAndHeads) {
  const auto slab = KvSlab::Create(Shape(), Dtype::kFloat32, 50, 1 << 20).value();
  for (int64_t layer = 0; layer < slab->layers(); ++layer) {
    slab->K(layer).copy_(at::randn_like(slab->K(layer)));
    slab->V(layer).copy_(at::randn_like(slab->V(layer)));
  }
  const at::Tensor before = slab->V(0).narrow(1, 0, 5).clone();
  slab->Copy(5, 30, 12);
  for (int64_t layer = 0; layer < slab->layers(); ++layer) {
    EXPECT_TRUE(at::equal(slab->K(layer).narrow(1, 30, 12), slab->K(layer).narrow(1, 5, 12))) << layer;
    EXPECT_TRUE(at::equal(slab->V(layer).narrow(1, 30, 12), slab->V(layer).narrow(1, 5, 12))) << layer;
  }
  EXPECT_TRUE(at::equal(slab->V(0).narrow(1, 0, 5), before));
}

}  // namespace
}  // namespace droidspeak
