// SPDX-License-Identifier: Apache-2.0
// An adapter applied beside a model against the same adapter merged into it (golden_test.cc: that this is right).
#include "engine/model/runtime_adapter.h"

#include <gtest/gtest.h>

#include <limits>

#include "engine/model/forward.h"
#include "tests/engine/model/fixture.h"

namespace droidspeak {
namespace {

constexpr int64_t kNoLimit = std::numeric_limits<int64_t>::max();
constexpr int64_t kTokens = 60;
constexpr float kTolerance = 5e-5f;

// A sequence in a batch.
struct Sequence {
  const RuntimeAdapter* adapter;
  std::vector<int32_t> tokens;
};

std::vector<int32_t> SomeTokens(const std::string& model, int64_t first, int64_t count) {
  const std::vector<int32_t> tokens = GoldenTokens(model, 300);
  return {tokens.begin() + first, tokens.begin() + first + count};
}

std::unique_ptr<KvSlab> NewSlab(const Model& model, int64_t slots) {
  return KvSlab::Create(model.config(), model.dtype(), slots, kNoLimit).value();
}

// Logits of all rows, or of each sequence's last row, in one forward.
at::Tensor Logits(const Model& model, const std::vector<Sequence>& sequences, bool all = true) {
  const std::shared_ptr<const Rope> rope = model.RopeFor(kTokens);
  std::vector<Row> rows;
  for (const Sequence& sequence : sequences) {
    const std::vector<Row> own = MakeRows(sequence.tokens, 0, static_cast<int64_t>(rows.size()), *rope,
                                          static_cast<int32_t>(&sequence - sequences.data()), sequence.adapter);
    rows.insert(rows.end(), own.begin(), own.end());
  }
  const auto slab = NewSlab(model, static_cast<int64_t>(rows.size()));
  const auto result = Forward(model, *slab, {.rows = rows, .wanted = all ? AllRows(rows) : LastRows(rows)});
  EXPECT_TRUE(result.ok()) << result.status();
  return result->logits;
}

struct Case {
  const char* model;
  const char* adapter;
};

class RuntimeAdapterTest : public testing::TestWithParam<Case> {
 protected:
  [[nodiscard]] std::shared_ptr<const Model> Base(Dtype dtype = Dtype::kFloat32) const {
    return LoadTestModel(GetParam().model, dtype);
  }
  [[nodiscard]] std::shared_ptr<const Model> Merged(Dtype dtype = Dtype::kFloat32) const {
    return LoadTestModel(std::string(GetParam().model) + "+" + GetParam().adapter, dtype);
  }
  [[nodiscard]] std::shared_ptr<const RuntimeAdapter> Applied(const std::shared_ptr<const Model>& base) const {
    return RuntimeAdapter::Load(TestData(GetParam().adapter), base).value();
  }
};

TEST_P(RuntimeAdapterTest, GivesWhatTheMergedModelGives) {
  const auto base = Base(), merged = Merged();
  const auto adapter = Applied(base);
  EXPECT_GT(adapter->weight_bytes(), 0);
  const std::vector<int32_t> tokens = SomeTokens(GetParam().model, 0, kTokens);
  const at::Tensor expected = Logits(*merged, {{nullptr, tokens}});
  EXPECT_LE(MaxDifference(Logits(*base, {{adapter.get(), tokens}}), expected), kTolerance);
  EXPECT_LE(MaxDifference(Logits(*base, {{adapter.get(), tokens}}, /*all=*/false)[0], expected[-1]), kTolerance);
  EXPECT_GT(MaxDifference(Logits(*base, {{nullptr, tokens}}), expected), 1e-2f) << "it changes nothing";
}

// bf16 rounds factors and products where a merge rounds weights: neither is nearer to the truth by much.
TEST_P(RuntimeAdapterTest, Bf16ErrorIsLikeThatOfTheMergedModel) {
  const auto base = Base(Dtype::kBfloat16), merged = Merged(Dtype::kBfloat16), exact = Merged();
  const auto adapter = Applied(base);
  const std::vector<int32_t> tokens = SomeTokens(GetParam().model, 0, kTokens);
  const at::Tensor truth = Logits(*exact, {{nullptr, tokens}});
  EXPECT_LE(MaxDifference(Logits(*base, {{adapter.get(), tokens}}), truth),
            2 * MaxDifference(Logits(*merged, {{nullptr, tokens}}), truth));
}

TEST_P(RuntimeAdapterTest, RowsOfOneBatchHaveTheirOwn) {
  const auto base = Base(), merged = Merged();
  const auto adapter = Applied(base), again = Applied(base);
  const std::vector<int32_t> one = SomeTokens(GetParam().model, 0, 20), two = SomeTokens(GetParam().model, 50, 7),
                             three = SomeTokens(GetParam().model, 100, 1), four = SomeTokens(GetParam().model, 9, 33);
  const std::vector<Sequence> batch = {
      {nullptr, one}, {adapter.get(), two}, {again.get(), three}, {nullptr, four}, {adapter.get(), one}};
  for (const bool all : {true, false}) {
    const at::Tensor together = Logits(*base, batch, all);
    int64_t row = 0;
    for (const Sequence& sequence : batch) {
      const Model& model = sequence.adapter == nullptr ? *base : *merged;
      const at::Tensor alone = Logits(model, {{nullptr, sequence.tokens}}, all);
      EXPECT_LE(MaxDifference(together.narrow(0, row, alone.size(0)), alone), kTolerance) << row;
      row += alone.size(0);
    }
  }
}

// What other models' plans read of it, and what its own blocks are.
TEST_P(RuntimeAdapterTest, KvOfARangeOfLayersIsThatOfTheMergedModel) {
  const auto base = Base(), merged = Merged();
  const auto adapter = Applied(base);
  const std::vector<int32_t> tokens = SomeTokens(GetParam().model, 0, kTokens);
  const int64_t layers = base->config().layers;
  const auto rope = base->RopeFor(kTokens), merged_rope = merged->RopeFor(kTokens);
  const auto slab = NewSlab(*base, kTokens), expected = NewSlab(*merged, kTokens);
  const auto rows = MakeRows(tokens, 0, 0, *rope, 0, adapter.get()), plain = MakeRows(tokens, 0, 0, *merged_rope);
  ASSERT_TRUE(Forward(*base, *slab, {.rows = rows, .end_layer = layers, .kv_only_in_last_layer = true}).ok());
  ASSERT_TRUE(Forward(*merged, *expected, {.rows = plain, .end_layer = layers, .kv_only_in_last_layer = true}).ok());
  for (int64_t layer = 0; layer < layers; ++layer) {
    EXPECT_LE(MaxDifference(slab->K(layer), expected->K(layer)), kTolerance) << layer;
    EXPECT_LE(MaxDifference(slab->V(layer), expected->V(layer)), kTolerance) << layer;
  }
}

INSTANTIATE_TEST_SUITE_P(Checkpoints, RuntimeAdapterTest,
                         testing::Values(Case{"llama-mha-16", "llama-mha-16/adapter-patterns"},
                                         Case{"llama-mha-16", "llama-mha-16/adapter-layers"},
                                         Case{"qwen3-bias", "qwen3-bias/adapter-patterns"},
                                         Case{"phi3-longrope", "phi3-longrope/adapter-fused"}));

TEST(RuntimeAdapterRefusalTest, AnotherModelsAdapterIsRefused) {
  const auto base = LoadTestModel("llama-mha-16", Dtype::kFloat32),
             other = LoadTestModel("llama-mha-16", Dtype::kFloat32);
  const auto adapter = RuntimeAdapter::Load(TestData("llama-mha-16/adapter-layers"), other).value();
  const auto rope = base->RopeFor(2);
  const std::vector<int32_t> tokens = {1, 2};
  auto rows = MakeRows(tokens, 0, 0, *rope, 0, adapter.get());
  const auto slab = NewSlab(*base, 2);
  EXPECT_TRUE(FailsNaming(Forward(*base, *slab, {.rows = rows}).status(), {"another model's adapter"}));
  const auto own = RuntimeAdapter::Load(TestData("llama-mha-16/adapter-layers"), base).value();
  rows[0].adapter = own.get();
  rows[1].adapter = nullptr;
  EXPECT_TRUE(FailsNaming(Forward(*base, *slab, {.rows = rows}).status(), {"adapter does not follow"}));
}

TEST(RuntimeAdapterRefusalTest, WhatCanNotBeMergedIsRefusedHereToo) {
  const auto base = LoadTestModel("llama-mha-16", Dtype::kFloat32);
  const ScratchDir adapter("llama-mha-16/adapter-patterns");
  adapter.EditJson("adapter_config.json", [](nlohmann::ordered_json& json) { json["use_dora"] = true; });
  EXPECT_TRUE(FailsNaming(RuntimeAdapter::Load(adapter.path(), base).status(), {"use_dora", "not supported"}));
  EXPECT_TRUE(FailsNaming(RuntimeAdapter::Load(adapter / "nowhere", base).status(), {"nowhere"}));
}

}  // namespace
}  // namespace droidspeak
