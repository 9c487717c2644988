// SPDX-License-Identifier: Apache-2.0
#include "engine/model/decode_attention.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/softmax.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "engine/model/torch_types.h"
#include "tests/engine/model/fixture.h"

namespace droidspeak {
namespace {

// Heads of the keys, queries a head, the size of a head: with and without rests of a vector and of four queries.
struct Shape {
  int64_t kv_heads, group, head_dim;
};

class DecodeAttentionTest : public testing::TestWithParam<Shape> {
 protected:
  void Check(Dtype dtype, int64_t window) {
    const auto [kv_heads, group, head_dim] = GetParam();
    ModelConfig config;
    config.layers = 2;
    config.kv_heads = kv_heads;
    config.heads = kv_heads * group;
    config.head_dim = head_dim;
    const auto slab = KvSlab::Create(config, dtype, 4096, int64_t{1} << 30);
    for (at::Tensor half : {(*slab)->K(1), (*slab)->V(1)}) half.copy_(at::randn(half.sizes()));
    // One key, some, a chunk and one, many; not from the slab's beginning, and rows that are not next to each other.
    const std::vector<AttentionRun> runs = {
        {.first_row = 0, .count = 1, .first_position = 0, .base_slot = 7},
        {.first_row = 2, .count = 1, .first_position = 99, .base_slot = 100},
        {.first_row = 3, .count = 1, .first_position = 512, .base_slot = 300},
        {.first_row = 4, .count = 1, .first_position = 1700, .base_slot = 1000},
    };
    const at::Tensor q = at::randn({5, 2 * config.heads, head_dim}).to(ScalarType(dtype)).narrow(1, 0, config.heads);
    at::Tensor out = at::empty({5, config.heads * head_dim}, q.options());
    AttendSingleRows(Rows(q), config.heads, **slab, 1, window, runs, Rows(out));
    for (const AttentionRun& run : runs) {
      const at::Tensor expected = Expected(q[run.first_row].to(at::kFloat), **slab, run, window);
      EXPECT_LE(MaxDifference(out[run.first_row], expected), dtype == Dtype::kFloat32 ? 1e-5 : 0.01)
          << "after " << run.first_position << " keys, window " << window;
    }
  }

 private:
  // q: [heads, head_dim]
  static at::Tensor Expected(const at::Tensor& q, const KvSlab& slab, const AttentionRun& run, int64_t window) {
    const int64_t first = window > 0 ? std::max<int64_t>(0, run.first_position - window + 1) : 0;
    const auto keys = [&](const at::Tensor& half) {
      return half.narrow(1, run.base_slot + first, run.first_position + 1 - first).to(at::kFloat);
    };
    const at::Tensor grouped = q.reshape({slab.kv_heads(), -1, slab.head_dim()});
    const at::Tensor scores = at::matmul(grouped, keys(slab.K(1)).transpose(1, 2));
    const at::Tensor weights = at::softmax(scores / std::sqrt(static_cast<double>(slab.head_dim())), -1);
    return at::matmul(weights, keys(slab.V(1))).reshape({-1});
  }
};

TEST_P(DecodeAttentionTest, IsSoftmaxOverAllKeys) {
  for (const Dtype dtype : {Dtype::kFloat32, Dtype::kBfloat16}) Check(dtype, 0);
}

TEST_P(DecodeAttentionTest, SeesTheLastKeysOfAWindow) {
  for (const int64_t window : {1, 100, 513}) Check(Dtype::kFloat32, window);
}

INSTANTIATE_TEST_SUITE_P(Shapes, DecodeAttentionTest,
                         testing::Values(Shape{1, 1, 16}, Shape{2, 3, 64}, Shape{3, 4, 24}, Shape{2, 7, 128},
                                         Shape{1, 9, 7}));

// Scores whose powers of e alone would be infinite or zero.
TEST(DecodeAttentionTest, LargeScores) {
  ModelConfig config;
  config.layers = 1;
  config.kv_heads = config.heads = 1;
  config.head_dim = 16;
  const auto slab = KvSlab::Create(config, Dtype::kFloat32, 200, int64_t{1} << 30);
  at::Tensor k = (*slab)->K(0), v = (*slab)->V(0);
  k.fill_(-100);
  k.select(1, 150).fill_(100);
  v.copy_(at::randn(v.sizes()));
  const at::Tensor q = at::full({1, 1, 16}, 10.0f);
  at::Tensor out = at::empty({1, 16}, q.options());
  AttendSingleRows(Rows(q), 1, **slab, 0, 0, {{{.first_row = 0, .count = 1, .first_position = 199, .base_slot = 0}}},
                   Rows(out));
  EXPECT_LE(MaxDifference(out[0], v[0][150]), 1e-6);
}

}  // namespace
}  // namespace droidspeak
