// SPDX-License-Identifier: Apache-2.0
#include "tests/engine/prefill/prefill_harness.h"

#include "ATen/TensorOperators.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

namespace droidspeak {
namespace {

std::vector<int64_t> Layers(const Model& model) {
  std::vector<int64_t> layers;
  for (int64_t layer = 0; layer < model.config().layers; ++layer) layers.push_back(layer);
  return layers;
}

}  // namespace

TestSequence::TestSequence(const Model& model, int64_t slots) {
  slab = KvSlab::Create(model.config(), model.dtype(), slots + 3, int64_t{1} << 32).value();
  SlotRun before = slab->Allocate(3).value();  // so that slots and positions differ
  run = slab->Allocate(slots).value();
  EXPECT_EQ(run.first, before.count);
}

std::vector<Plan> AllPlans(int64_t layers) {
  std::vector<Plan> plans;
  for (int64_t a = 0; a <= layers; ++a) {
    plans.push_back(Plan::ParseTriple(absl::StrCat(a, ",", a, ",", a), layers).value());
    for (int64_t b = a + 1; b <= layers; ++b) {
      for (int64_t c = b + 1; c <= layers; ++c) {
        plans.push_back(Plan::ParseTriple(absl::StrCat(a, ",", b, ",", c), layers).value());
      }
    }
  }
  for (const char* runs : {"1-2,3-4", "0-1,1-2,2-3", "2-3", "1-2,2-4"}) {
    plans.push_back(Plan::ParseRuns(runs, layers).value());
  }
  return plans;
}

at::Tensor FullLogits(const Model& model, const std::vector<int32_t>& tokens) {
  TestSequence sequence(model, static_cast<int64_t>(tokens.size()));
  const std::shared_ptr<const Rope> rope = model.RopeFor(static_cast<int64_t>(tokens.size()));
  const std::vector<Row> rows = MakeRows(tokens, 0, sequence.run.first, *rope);
  ForwardInput input;
  input.rows = rows;
  input.wanted = AllRows(rows);
  absl::StatusOr<ForwardResult> result = Forward(model, *sequence.slab, input);
  EXPECT_TRUE(result.ok()) << result.status();
  return result->logits;
}

std::unique_ptr<ContextCache> CaptureAll(const Model& model, const std::vector<int32_t>& tokens, int64_t count) {
  auto cache = CaptureContext(model, absl::MakeConstSpan(tokens).subspan(0, count), static_cast<int64_t>(tokens.size()),
                              Layers(model), Layers(model));
  EXPECT_TRUE(cache.ok()) << cache.status();
  return *std::move(cache);
}

void ComputeOwnPrefix(const Model& model, TestSequence& sequence, const std::vector<int32_t>& tokens, int64_t count) {
  if (count == 0) return;
  const std::shared_ptr<const Rope> rope = model.RopeFor(static_cast<int64_t>(tokens.size()));
  const std::vector<Row> rows = MakeRows(absl::MakeConstSpan(tokens).subspan(0, count), 0, sequence.run.first, *rope);
  ForwardInput input;
  input.rows = rows;
  input.kv_only_in_last_layer = true;
  const absl::Status status = Forward(model, *sequence.slab, input).status();
  EXPECT_TRUE(status.ok()) << status;
}

PrefillResult MustPrefill(const Model& model, TestSequence& sequence, const PrefillRequest& request) {
  absl::StatusOr<PrefillResult> result = PartialPrefill(model, *sequence.slab, request);
  EXPECT_TRUE(result.ok()) << result.status();
  return *std::move(result);
}

double MaxDifference(const at::Tensor& a, const at::Tensor& b) {
  EXPECT_EQ(a.sizes(), b.sizes());
  return (a - b).abs().max().item<double>();
}

}  // namespace droidspeak
