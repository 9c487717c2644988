// SPDX-License-Identifier: Apache-2.0
// The invariants of docs/partial-prefill.md, in process.
#include "engine/prefill/partial_prefill.h"

#include <algorithm>
#include <map>
#include <random>
#include <set>

#include "absl/strings/str_cat.h"
#include "engine/prefill/arrival.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/engine/prefill/prefill_harness.h"

namespace droidspeak {
namespace {

using ::testing::HasSubstr;

constexpr double kTolerance = 1e-4;
constexpr int64_t kLength = 70, kContext = 53;

TinyModel Base() {
  return {};
}
TinyModel Tuned() {
  return {.drift_seed = 9, .drift = 0.3};
}

// The last rows' logits under `plan` with the first `context` tokens from `sender`.
PrefillResult Answer(const Model& receiver, const Model& sender, const std::vector<int32_t>& tokens, const Plan& plan,
                     int64_t context, int64_t own = 0) {
  TestSequence sequence(receiver, static_cast<int64_t>(tokens.size()));
  ComputeOwnPrefix(receiver, sequence, tokens, own);
  const std::unique_ptr<ContextCache> cache = CaptureAll(sender, tokens, context);
  InProcessSource source(*cache, own);
  return MustPrefill(receiver, sequence,
                     {.tokens = tokens, .run = sequence.run, .plan = plan, .source = &source, .first_wanted = context});
}

class SameModelTest : public ::testing::TestWithParam<TinyModel> {};

TEST_P(SameModelTest, EveryPlanEqualsFullPrefill) {
  const auto model = LoadTinyModel(GetParam());
  const std::vector<int32_t> tokens = RandomTokens(kLength, GetParam().vocab, 5);
  const at::Tensor full = FullLogits(*model, tokens);
  EXPECT_GT(full.abs().max().item<double>(), 2.0);  // logits span several units
  for (int64_t context : {1L, kContext, kLength - 1}) {
    for (const Plan& plan : AllPlans(GetParam().layers)) {
      if (plan.is_full()) continue;
      const PrefillResult result = Answer(*model, *model, tokens, plan, context);
      EXPECT_LE(MaxDifference(result.logits, full.slice(0, context)), kTolerance) << plan.text() << " of " << context;
      EXPECT_EQ(result.context_tokens, context);
    }
  }
}

TEST_P(SameModelTest, EveryPlanOnAnOwnPrefixEqualsFullPrefill) {
  const auto model = LoadTinyModel(GetParam());
  const std::vector<int32_t> tokens = RandomTokens(kLength, GetParam().vocab, 6);
  const at::Tensor full = FullLogits(*model, tokens);
  for (int64_t own : {1L, 32L, kContext}) {
    for (const Plan& plan : AllPlans(GetParam().layers)) {
      const PrefillResult result = Answer(*model, *model, tokens, plan, kContext, own);
      EXPECT_LE(MaxDifference(result.logits, full.slice(0, kContext)), kTolerance) << plan.text() << " own " << own;
      EXPECT_EQ(result.context_tokens, plan.is_full() ? own : kContext);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Models, SameModelTest,
                         ::testing::Values(Base(), TinyModel{.seed = 2, .tied = true, .llama3 = true},
                                           TinyModel{.seed = 3, .window = 20}, TinyModel{.seed = 4, .kv_heads = 4},
                                           TinyModel{.seed = 5, .longrope = 60}, TinyModel{.seed = 6, .longrope = 70},
                                           TinyModel{.seed = 7, .max_positions = 50, .dynamic = true}),
                         [](const auto& info) { return absl::StrCat("Seed", info.param.seed); });

TEST(PartialPrefillTest, SameAdapterOnBothSidesEqualsFullPrefill) {
  const auto model = LoadTinyModelWithAdapter(Base(), 77);
  const std::vector<int32_t> tokens = RandomTokens(kLength, Base().vocab, 5);
  const at::Tensor full = FullLogits(*model, tokens);
  EXPECT_GT(MaxDifference(full, FullLogits(*LoadTinyModel(Base()), tokens)), 0.1);
  for (const Plan& plan : AllPlans(Base().layers)) {
    if (plan.is_full()) continue;
    const PrefillResult result = Answer(*model, *model, tokens, plan, kContext);
    EXPECT_LE(MaxDifference(result.logits, full.slice(0, kContext)), kTolerance) << plan.text();
  }
}

// In a model of one layer K and V don't depend on positions before the rotation: whatever rule the receiver rotates by,
// reusing them is exact.
TEST(PartialPrefillTest, ReusedKeysAreRotatedByTheReceiversRule) {
  const std::vector<int32_t> tokens = RandomTokens(kLength, Base().vocab, 5);
  const auto sender = LoadTinyModel({.layers = 1});
  for (const TinyModel& other : {TinyModel{.layers = 1, .rope_theta = 500}, TinyModel{.layers = 1, .llama3 = true}}) {
    const auto receiver = LoadTinyModel(other);
    const at::Tensor full = FullLogits(*receiver, tokens).slice(0, kContext);
    EXPECT_GT(MaxDifference(full, FullLogits(*sender, tokens).slice(0, kContext)), 0.01);
    const PrefillResult result = Answer(*receiver, *sender, tokens, Plan::ReuseAll(1, "reuse-all"), kContext);
    EXPECT_LE(MaxDifference(result.logits, full), kTolerance);
  }
}

TEST(PartialPrefillTest, LeadingRecomputedLayersAreExactWhateverTheSenderHolds) {
  const auto receiver = LoadTinyModel(Base());
  const auto garbage = LoadTinyModel({.seed = 1234});
  const std::vector<int32_t> tokens = RandomTokens(kLength, Base().vocab, 5);
  const std::unique_ptr<ContextCache> cache = CaptureAll(*garbage, tokens, kContext);
  TestSequence exact(*receiver, kLength);
  ComputeOwnPrefix(*receiver, exact, tokens, kContext);
  for (const Plan& plan : AllPlans(Base().layers)) {
    TestSequence sequence(*receiver, kLength);
    InProcessSource source(*cache);
    MustPrefill(*receiver, sequence, {.tokens = tokens, .run = sequence.run, .plan = plan, .source = &source});
    if (plan.is_full()) continue;
    for (int64_t layer = 0; layer < plan.exact_layers(); ++layer) {
      const auto rows = [&](const at::Tensor& all) { return all.narrow(1, sequence.run.first, kContext); };
      EXPECT_LE(MaxDifference(rows(sequence.slab->K(layer)), rows(exact.slab->K(layer))), kTolerance) << plan.text();
      EXPECT_LE(MaxDifference(rows(sequence.slab->V(layer)), rows(exact.slab->V(layer))), kTolerance) << plan.text();
    }
  }
}

TEST(PartialPrefillTest, AnUnrelatedSenderChangesTheAnswer) {
  const auto receiver = LoadTinyModel(Base());
  const auto garbage = LoadTinyModel({.seed = 1234});
  const std::vector<int32_t> tokens = RandomTokens(kLength, Base().vocab, 5);
  const at::Tensor full = FullLogits(*receiver, tokens).slice(0, kContext);
  for (const char* triple : {"0,0,0", "2,2,2", "0,1,3"}) {
    const Plan plan = Plan::ParseTriple(triple, Base().layers).value();
    EXPECT_GT(MaxDifference(Answer(*receiver, *garbage, tokens, plan, kContext).logits, full), 0.1) << triple;
  }
}

// A sender's context of which one extent is lost: rows of `layer` (its E or its KV) from `row` on never arrive.
class LossySource : public ContextSource {
 public:
  LossySource(const ContextCache& cache, bool e, int64_t layer, int64_t row)
      : cache_(cache), inner_(cache), e_(e), layer_(layer), row_(row), tokens_(cache.tokens()) {}
  absl::Status Begin(const Plan& plan, const ContextTarget& target) override {
    target_ = target;
    for (int64_t layer : plan.kv_layers()) pending_.insert(layer);
    return inner_.Begin(plan, target);
  }
  int64_t tokens() const override { return tokens_; }
  int64_t own_tokens() const override { return 0; }
  at::Tensor E(int64_t layer, int64_t row, int64_t max_rows) override {
    int64_t end = std::min(row + std::min<int64_t>(max_rows, 16), tokens_);
    if (e_ && layer == layer_) {
      end = std::min(end, row_);
      if (row >= end) tokens_ = std::min(tokens_, row_);
    }
    return row >= end ? at::Tensor() : inner_.E(layer, row, end - row);
  }
  void Place(int64_t layer) override {
    if (pending_.erase(layer) == 0) return;
    if (!e_ && layer == layer_) tokens_ = std::min(tokens_, row_);
    PlaceRows(target_, layer,
              {.extent = cache_.kv(layer), .extent_tokens = cache_.tokens(), .begin = 0, .end = tokens_});
  }
  void PlaceAll() override {
    while (!pending_.empty()) Place(*pending_.begin());
  }
  SourceStats stats() const override { return {}; }
  std::string loss() const override { return "lost"; }

 private:
  const ContextCache& cache_;
  InProcessSource inner_;
  const bool e_;
  const int64_t layer_, row_;
  ContextTarget target_;
  std::set<int64_t> pending_;
  int64_t tokens_;
};

TEST(PartialPrefillTest, AHoleMovesRowsToTheSuffixAndChangesNothingElse) {
  const auto receiver = LoadTinyModel(Tuned());
  const auto sender = LoadTinyModel(Base());
  const std::vector<int32_t> tokens = RandomTokens(kLength, Base().vocab, 5);
  const std::unique_ptr<ContextCache> cache = CaptureAll(*sender, tokens, kContext);
  std::mt19937_64 random(11);
  for (const Plan& plan : AllPlans(Base().layers)) {
    for (const bool e : {true, false}) {
      const std::vector<int64_t> layers = e ? plan.e_layers() : plan.kv_layers();
      if (layers.empty()) continue;
      for (const int64_t row : {int64_t{0}, static_cast<int64_t>(random() % kContext), kContext - 1}) {
        LossySource source(*cache, e, layers[random() % layers.size()], row);
        TestSequence sequence(*receiver, kLength);
        const PrefillResult result = MustPrefill(
            *receiver, sequence,
            {.tokens = tokens, .run = sequence.run, .plan = plan, .source = &source, .first_wanted = kContext});
        ASSERT_EQ(result.context_tokens, row) << plan.text();
        EXPECT_EQ(result.fallback, "lost");
        const at::Tensor expected =
            row == 0 ? FullLogits(*receiver, tokens) : Answer(*receiver, *sender, tokens, plan, row).logits;
        EXPECT_LE(MaxDifference(result.logits, expected.slice(0, expected.size(0) - (kLength - kContext))), kTolerance)
            << plan.text() << (e ? " E" : " KV") << " lost from row " << row;
      }
    }
  }
}

TEST(PartialPrefillTest, AfterPlansAFullPrefillInTheSameSlotsEqualsAColdOne) {
  const auto receiver = LoadTinyModel(Tuned());
  const auto sender = LoadTinyModel(Base());
  const std::vector<int32_t> tokens = RandomTokens(kLength, Base().vocab, 5);
  const std::unique_ptr<ContextCache> cache = CaptureAll(*sender, tokens, kContext);
  TestSequence sequence(*receiver, kLength);
  for (const Plan& plan : AllPlans(Base().layers)) {
    InProcessSource source(*cache);
    MustPrefill(*receiver, sequence, {.tokens = tokens, .run = sequence.run, .plan = plan, .source = &source});
  }
  const PrefillResult full =
      MustPrefill(*receiver, sequence,
                  {.tokens = tokens, .run = sequence.run, .plan = Plan::Full(Base().layers), .first_wanted = 0});
  EXPECT_LE(MaxDifference(full.logits, FullLogits(*receiver, tokens)), kTolerance);
}

// Remembers which rows of which layer it was given.
class RecordingSink : public CaptureSink {
 public:
  absl::Status OnLayer(const LayerKv& kv, int64_t row) override {
    int64_t& end = end_row[kv.layer];
    end = std::max(end, row + kv.rows);
    return absl::OkStatus();
  }
  std::map<int64_t, int64_t> end_row;
};

TEST(PartialPrefillTest, OnlyExactTensorsAreHandedToTheSink) {
  const auto receiver = LoadTinyModel(Tuned());
  const auto sender = LoadTinyModel(Base());
  const std::vector<int32_t> tokens = RandomTokens(kLength, Base().vocab, 5);
  const std::unique_ptr<ContextCache> cache = CaptureAll(*sender, tokens, kContext);
  for (const Plan& plan : AllPlans(Base().layers)) {
    InProcessSource source(*cache);
    RecordingSink sink;
    TestSequence sequence(*receiver, kLength);
    MustPrefill(*receiver, sequence,
                {.tokens = tokens, .run = sequence.run, .plan = plan, .source = &source, .capture = &sink});
    const int64_t rows = plan.is_full() ? kLength : kContext;
    EXPECT_EQ(static_cast<int64_t>(sink.end_row.size()), plan.exact_layers()) << plan.text();
    for (const auto& [layer, end] : sink.end_row) {
      EXPECT_LT(layer, plan.exact_layers()) << plan.text();
      EXPECT_EQ(end, rows) << plan.text();
    }
  }
}

TEST(PartialPrefillTest, RequestsThatCannotBeRightAreRefused) {
  const auto model = LoadTinyModel(Base());
  const std::vector<int32_t> tokens = RandomTokens(kLength, Base().vocab, 5);
  const std::unique_ptr<ContextCache> cache = CaptureAll(*model, tokens, kLength);
  TestSequence sequence(*model, kLength);
  InProcessSource source(*cache);
  const auto message = [&](const PrefillRequest& request) {
    const absl::Status status = PartialPrefill(*model, *sequence.slab, request).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
    return std::string(status.message());
  };
  const Plan reuse = Plan::ReuseAll(Base().layers, "reuse-all");
  EXPECT_THAT(message({.tokens = {}, .run = sequence.run, .plan = reuse}), HasSubstr("at least one token"));
  EXPECT_THAT(message({.tokens = tokens, .run = {sequence.run.first, 10}, .plan = reuse}), HasSubstr("10 slots"));
  EXPECT_THAT(message({.tokens = tokens, .run = sequence.run, .plan = reuse, .source = &source}),
              HasSubstr("a context of 70 tokens leaves no row"));
  EXPECT_THAT(message({.tokens = tokens, .run = sequence.run, .plan = Plan::Full(9)}), HasSubstr("9 layers"));
}

}  // namespace
}  // namespace droidspeak
