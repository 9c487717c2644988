// SPDX-License-Identifier: Apache-2.0
// The forward against itself: ranges, prefixes, batches and hooks change nothing but the work done.
#include "engine/model/forward.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <limits>

#include "engine/model/score.h"
#include "tests/engine/model/fixture.h"

namespace droidspeak {
namespace {

constexpr int64_t kNoLimit = std::numeric_limits<int64_t>::max();
constexpr float kTolerance = 2e-5f;

// Keeps what the hooks saw of a model in fp32.
class Recorder : public ForwardHooks {
 public:
  explicit Recorder(const ModelConfig& config) : config_(config) {}
  absl::Status BeforeLayer(int64_t layer) override {
    calls.push_back("before " + std::to_string(layer));
    return absl::OkStatus();
  }
  absl::Status OnKv(const LayerKv& kv) override {
    calls.push_back("kv " + std::to_string(kv.layer));
    e.push_back(Copy(kv.e, kv.rows, config_.hidden_size));
    k.push_back(Copy(kv.k, kv.rows, config_.kv_heads * config_.head_dim).unflatten(1, {-1, config_.head_dim}));
    v.push_back(Copy(kv.v, kv.rows, config_.kv_heads * config_.head_dim).unflatten(1, {-1, config_.head_dim}));
    return absl::OkStatus();
  }

  std::vector<std::string> calls;
  std::vector<at::Tensor> e, k, v;

 private:
  static at::Tensor Copy(const Rows& rows, int64_t count, int64_t width) {
    const int64_t stride = rows.stride_bytes() / static_cast<int64_t>(sizeof(float));
    return at::from_blob(rows[0], {count, width}, {stride, 1}, at::kFloat).clone();
  }

  const ModelConfig& config_;
};

class ForwardTest : public testing::TestWithParam<const char*> {
 protected:
  ForwardTest()
      : model_(LoadTestModel(GetParam(), Dtype::kFloat32)),
        rope_(model_->RopeFor(300)),
        tokens_(GoldenTokens(GetParam(), 300)) {
    slab_ = NewSlab(800);
    whole_ = Run({.rows = rows_ = MakeRows(tokens_, 0, 0, *rope_), .wanted = AllRows(rows_)}, *slab_).logits;
  }

  [[nodiscard]] std::unique_ptr<KvSlab> NewSlab(int64_t slots) const {
    return KvSlab::Create(model_->config(), model_->dtype(), slots, kNoLimit).value();
  }

  [[nodiscard]] ForwardResult Run(const ForwardInput& input, KvSlab& slab) const {
    auto result = Forward(*model_, slab, input);
    EXPECT_TRUE(result.ok()) << result.status();
    return *std::move(result);
  }

  std::shared_ptr<const Model> model_;
  std::shared_ptr<const Rope> rope_;
  std::vector<int32_t> tokens_;
  std::vector<Row> rows_;
  std::unique_ptr<KvSlab> slab_;  // holds the whole prompt's KV in slots 0...
  at::Tensor whole_;              // logits of all its rows
};

TEST_P(ForwardTest, RangesOfLayersInTurnEqualTheWhole) {
  const auto slab = NewSlab(300);
  const ForwardResult first = Run({.rows = rows_, .end_layer = 1, .wanted = AllRows(rows_)}, *slab);
  EXPECT_FALSE(first.logits.defined());
  const at::Tensor before = first.hidden.clone();
  const ForwardResult second =
      Run({.rows = rows_, .first_layer = 1, .e = first.hidden, .wanted = AllRows(rows_)}, *slab);
  EXPECT_LE(MaxDifference(second.logits, whole_), kTolerance);
  EXPECT_EQ(MaxDifference(first.hidden, before), 0) << "a given E must not be modified";
}

TEST_P(ForwardTest, SuffixAfterPrefixEqualsTheWhole) {
  for (const int64_t prefix : {1, 49, 50, 51, 255, 256, 299}) {
    const auto slab = NewSlab(300);
    const absl::Span<const Row> rows = rows_;
    const ForwardResult none = Run({.rows = rows.first(prefix)}, *slab);
    EXPECT_FALSE(none.logits.defined());
    const auto suffix = rows.subspan(prefix);
    const at::Tensor logits = Run({.rows = suffix, .wanted = AllRows(suffix)}, *slab).logits;
    EXPECT_LE(MaxDifference(logits, whole_.narrow(0, prefix, 300 - prefix)), kTolerance) << prefix;
  }
}

TEST_P(ForwardTest, DecodingTokenByTokenEqualsTheWhole) {
  const auto slab = NewSlab(300);
  for (int64_t i = 0; i < 120; ++i) {
    const auto row = absl::MakeConstSpan(rows_).subspan(i, 1);
    const at::Tensor logits = Run({.rows = row, .wanted = {0}}, *slab).logits;
    ASSERT_LE(MaxDifference(logits, whole_.narrow(0, i, 1)), kTolerance) << i;
  }
}

TEST_P(ForwardTest, OnlyWantedRowsComeOutAndEqualTheirs) {
  const auto slab = NewSlab(300);
  const std::vector<int64_t> wanted = {0, 1, 77, 78, 79, 299};
  const ForwardResult result = Run({.rows = rows_, .wanted = wanted}, *slab);
  ASSERT_EQ(result.logits.size(0), 6);
  for (size_t i = 0; i < wanted.size(); ++i) {
    EXPECT_LE(MaxDifference(result.logits[i], whole_[wanted[i]]), kTolerance) << wanted[i];
  }
  for (int64_t layer = 0; layer < 2; ++layer) {  // the others left their keys and values all the same
    EXPECT_LE(MaxDifference(slab->K(layer), slab_->K(layer).narrow(1, 0, 300)), kTolerance);
    EXPECT_LE(MaxDifference(slab->V(layer), slab_->V(layer).narrow(1, 0, 300)), kTolerance);
  }
}

TEST_P(ForwardTest, KvOnlyInTheLastLayerLeavesKvAndNoOutput) {
  const auto slab = NewSlab(300);
  const ForwardResult result =
      Run({.rows = rows_, .end_layer = 2, .kv_only_in_last_layer = true, .wanted = AllRows(rows_)}, *slab);
  EXPECT_FALSE(result.hidden.defined());
  EXPECT_FALSE(result.logits.defined());
  EXPECT_LE(MaxDifference(slab->K(1), slab_->K(1).narrow(1, 0, 300)), kTolerance);
}

TEST_P(ForwardTest, SequencesTogetherEqualEachAlone) {
  // One starts, one goes on after a prefix, one decodes, one is another prompt; their runs of slots are not in order.
  const std::vector<int32_t> other(tokens_.rbegin(), tokens_.rbegin() + 40);
  const auto slab = NewSlab(900);
  (void)Run({.rows = MakeRows(absl::MakeConstSpan(tokens_).first(200), 0, 500, *rope_)}, *slab);
  (void)Run({.rows = MakeRows(absl::MakeConstSpan(tokens_).first(99), 0, 301, *rope_)}, *slab);
  std::vector<Row> batch;
  const auto append = [&batch](const std::vector<Row>& rows) { batch.insert(batch.end(), rows.begin(), rows.end()); };
  append(MakeRows(absl::MakeConstSpan(tokens_).first(150), 0, 0, *rope_, 7));
  append(MakeRows(absl::MakeConstSpan(tokens_).subspan(200, 60), 200, 500, *rope_, 3));
  append(MakeRows(absl::MakeConstSpan(tokens_).subspan(99, 1), 99, 301, *rope_, 9));
  append(MakeRows(other, 0, 801, *rope_, 1));
  const at::Tensor logits = Run({.rows = batch, .wanted = AllRows(batch)}, *slab).logits;
  EXPECT_LE(MaxDifference(logits.narrow(0, 0, 150), whole_.narrow(0, 0, 150)), kTolerance);
  EXPECT_LE(MaxDifference(logits.narrow(0, 150, 60), whole_.narrow(0, 200, 60)), kTolerance);
  EXPECT_LE(MaxDifference(logits.narrow(0, 210, 1), whole_.narrow(0, 99, 1)), kTolerance);
  EXPECT_LE(MaxDifference(logits.narrow(0, 211, 40), *ScoreTokens(*model_, other, true)), kTolerance);
  const at::Tensor last = Run({.rows = batch, .wanted = LastRows(batch)}, *slab).logits;
  ASSERT_EQ(last.size(0), 4);
  EXPECT_LE(MaxDifference(last[1], logits[209]), kTolerance);
}

TEST_P(ForwardTest, HooksSeeEachLayerOnceInOrder) {
  Recorder recorder(model_->config());
  (void)Run({.rows = rows_, .wanted = LastRows(rows_), .hooks = &recorder}, *slab_);
  EXPECT_EQ(recorder.calls, (std::vector<std::string>{"before 0", "kv 0", "before 1", "kv 1"}));
  const auto dump = DumpCache(*model_, tokens_);
  for (int64_t layer = 0; layer < 2; ++layer) {
    EXPECT_LE(MaxDifference(recorder.e[layer], dump->e[layer]), kTolerance);
    EXPECT_LE(MaxDifference(recorder.k[layer].transpose(0, 1), dump->k[layer]), kTolerance);
    EXPECT_LE(MaxDifference(recorder.v[layer].transpose(0, 1), dump->v[layer]), kTolerance);
  }
}

TEST_P(ForwardTest, PlacedExtentsEqualComputedKeysBitForBit) {
  const auto slab = NewSlab(400);
  const auto dump = DumpCache(*model_, tokens_);
  for (int64_t layer = 0; layer < 2; ++layer) {
    // Extents of 64 tokens; the last one holds 44 and padding.
    for (int64_t first = 0; first < 300; first += 64) {
      const int64_t tokens = std::min<int64_t>(64, 300 - first);
      at::Tensor extent = at::full_like(dump->k[layer].narrow(1, 0, 64), 1e9).repeat({2, 1, 1}).contiguous();
      const int64_t heads = model_->config().kv_heads;
      extent.narrow(0, 0, heads).narrow(1, 0, tokens).copy_(dump->k[layer].narrow(1, first, tokens));
      extent.narrow(0, heads, heads).narrow(1, 0, tokens).copy_(dump->v[layer].narrow(1, first, tokens));
      slab->PlaceExtent(*rope_, layer, 100 + first, first, static_cast<const std::byte*>(extent.data_ptr()), 64,
                        tokens);
    }
    EXPECT_EQ(MaxDifference(slab->K(layer).narrow(1, 100, 300), slab_->K(layer).narrow(1, 0, 300)), 0);
    EXPECT_EQ(MaxDifference(slab->V(layer).narrow(1, 100, 300), slab_->V(layer).narrow(1, 0, 300)), 0);
  }
}

TEST_P(ForwardTest, HookMayBringEarlierKvJustInTime) {
  // A suffix whose prefix arrives layer by layer, in the hook, as reused KV does.
  class Arrival : public ForwardHooks {
   public:
    Arrival(KvSlab& from, KvSlab& to) : from_(from), to_(to) {}
    absl::Status OnKv(const LayerKv& kv) override {
      to_.K(kv.layer).narrow(1, 0, 256).copy_(from_.K(kv.layer).narrow(1, 0, 256));
      to_.V(kv.layer).narrow(1, 0, 256).copy_(from_.V(kv.layer).narrow(1, 0, 256));
      return absl::OkStatus();
    }

   private:
    KvSlab &from_, &to_;
  };
  const auto slab = NewSlab(300);
  Arrival arrival(*slab_, *slab);
  const auto suffix = absl::MakeConstSpan(rows_).subspan(256);
  const at::Tensor logits = Run({.rows = suffix, .wanted = {43}, .hooks = &arrival}, *slab).logits;
  EXPECT_LE(MaxDifference(logits, whole_.narrow(0, 299, 1)), kTolerance);
}

TEST_P(ForwardTest, StatusOfAHookEndsTheForward) {
  class Deadline : public ForwardHooks {
   public:
    absl::Status OnKv(const LayerKv&) override { return absl::DeadlineExceededError("layer 0 is late"); }
  };
  Deadline deadline;
  const auto result = Forward(*model_, *slab_, {.rows = rows_, .hooks = &deadline});
  EXPECT_EQ(result.status().code(), absl::StatusCode::kDeadlineExceeded);
}

INSTANTIATE_TEST_SUITE_P(Checkpoints, ForwardTest, testing::Values("llama-mha-16", "llama-gqa-64", "mistral-window"));

struct BadInput {
  const char* name;
  std::vector<Row> rows;  // with the model's RoPE
  ForwardInput input;
  std::vector<std::string> parts;
};

TEST(ForwardCheckTest, BadInputIsRefusedNamingIt) {
  const auto model = LoadTestModel("llama-mha-16", Dtype::kFloat32);
  const auto rope = model->RopeFor(1);
  const auto slab = KvSlab::Create(model->config(), Dtype::kFloat32, 64, kNoLimit).value();
  const std::vector<Row> good = MakeRows(std::vector<int32_t>{1, 2, 3}, 0, 0, *rope);
  const at::Tensor e = at::zeros({3, 64});
  const BadInput cases[] = {
      {"no rows", {}, {}, {"no rows"}},
      {"token", {{.token = 128}}, {}, {"token 128", "127"}},
      {"negative token", {{.token = -1}}, {}, {"token -1"}},
      {"position", {{.position = 1024, .slot = 1024}}, {}, {"position 1024", "1024 tokens"}},
      {"negative position", {{.position = -1}}, {}, {"position -1"}},
      {"slot", {{.slot = 64}}, {}, {"slot 64", "63"}},
      {"slot before the slab", {{.position = 5, .slot = 4}}, {}, {"slot 4", "position 5"}},
      {"gap", {{.position = 0, .slot = 0}, {.position = 2, .slot = 2}}, {}, {"row 1", "does not follow"}},
      {"slot gap", {{.position = 0, .slot = 0}, {.position = 1, .slot = 2}}, {}, {"row 1", "does not follow"}},
      {"apart",
       {{.sequence = 1}, {.sequence = 2, .slot = 9}, {.sequence = 1, .slot = 20}},
       {},
       {"sequence 1", "apart"}},
      {"range", good, {.first_layer = 2}, {"layers [2, 2)"}},
      {"end", good, {.end_layer = 3}, {"layers [0, 3)"}},
      {"no E", good, {.first_layer = 1}, {"no E"}},
      {"E of other rows", good, {.first_layer = 1, .e = e.narrow(0, 0, 2)}, {"E; expected [3,64]"}},
      {"E of other width", good, {.first_layer = 1, .e = e.narrow(1, 0, 32)}, {"E; expected [3,64]"}},
      {"E of other dtype", good, {.first_layer = 1, .e = e.to(at::kBFloat16)}, {"in fp32"}},
      {"wanted", good, {.wanted = {3}}, {"wanted row 3"}},
      {"wanted twice", good, {.wanted = {1, 1}}, {"wanted row 1"}},
      {"wanted negative", good, {.wanted = {-1}}, {"wanted row -1"}},
  };
  for (const BadInput& bad : cases) {
    ForwardInput input = bad.input;
    std::vector<Row> rows = bad.rows;
    for (Row& row : rows) row.rope = rope.get();
    input.rows = rows;
    const auto result = Forward(*model, *slab, input);
    EXPECT_EQ(result.status().code(), absl::StatusCode::kInvalidArgument) << bad.name;
    EXPECT_TRUE(FailsNaming(result.status(), bad.parts)) << bad.name;
  }
}

TEST(ForwardCheckTest, RowsNeedOneRopeOfTheModel) {
  const auto model = LoadTestModel("llama-mha-16", Dtype::kFloat32);
  const auto rope = model->RopeFor(1), theirs = LoadTestModel("llama-gqa-64", Dtype::kFloat32)->RopeFor(1);
  const Rope copy(model->config().rope, model->config().head_dim, model->config().max_positions, 1);
  const auto slab = KvSlab::Create(model->config(), Dtype::kFloat32, 64, kNoLimit).value();
  std::vector<Row> rows = MakeRows(std::vector<int32_t>{1, 2}, 0, 0, *rope);
  for (const Rope* other : {static_cast<const Rope*>(nullptr), theirs.get()}) {
    rows[0].rope = other;
    EXPECT_TRUE(FailsNaming(Forward(*model, *slab, {.rows = rows}).status(), {"without the model's rotary"}));
  }
  rows[0].rope = &copy;
  EXPECT_TRUE(FailsNaming(Forward(*model, *slab, {.rows = rows}).status(), {"row 1", "rotary", "does not follow"}));
}

TEST(ForwardCheckTest, SlabOfAnotherDtypeOrShapeIsRefused) {
  const auto model = LoadTestModel("llama-mha-16", Dtype::kFloat32);
  const auto other = LoadTestModel("llama-gqa-64", Dtype::kFloat32);
  const auto rope = model->RopeFor(1);
  const std::vector<Row> rows = MakeRows(std::vector<int32_t>{1}, 0, 0, *rope);
  const auto bf16 = KvSlab::Create(model->config(), Dtype::kBfloat16, 64, kNoLimit).value();
  const auto shape = KvSlab::Create(other->config(), Dtype::kFloat32, 64, kNoLimit).value();
  EXPECT_TRUE(FailsNaming(Forward(*model, *bf16, {.rows = rows}).status(), {"slab"}));
  EXPECT_TRUE(FailsNaming(Forward(*model, *shape, {.rows = rows}).status(), {"slab"}));
}

}  // namespace
}  // namespace droidspeak
