// SPDX-License-Identifier: Apache-2.0
// Plans' answers against a reference in Python (make_goldens.py), for each family of models.
#include <cstring>
#include <string>

#include "ATen/core/Tensor.h"
#include "ATen/ops/from_blob.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "engine/model/safetensors.h"
#include "gtest/gtest.h"
#include "tests/engine/prefill/prefill_harness.h"

namespace droidspeak {
namespace {

constexpr int64_t kContext = 40;
constexpr double kTolerance = 1e-4;

std::string Data(const std::string& name) {
  return absl::StrCat(DROIDSPEAK_PREFILL_TESTDATA, "/", name);
}

std::shared_ptr<const Model> Load(const std::string& spec) {
  return Model::Load(spec, Dtype::kFp32).value();
}

// The golden file's tensors.
class Goldens {
 public:
  Goldens() : file_(SafetensorsFile::Open(Data("goldens.safetensors")).value()) {}

  [[nodiscard]] const SafetensorsFile& file() const { return *file_; }
  [[nodiscard]] at::Tensor Logits(const std::string& name) const {
    const StoredTensor& stored = file_->tensors().at(name);
    return at::from_blob(const_cast<std::byte*>(stored.bytes.data()), stored.shape, at::kFloat);
  }
  [[nodiscard]] std::vector<int32_t> Tokens(const std::string& name) const {
    const StoredTensor& stored = file_->tensors().at(name);
    std::vector<int64_t> wide(stored.shape[0]);
    std::memcpy(wide.data(), stored.bytes.data(), stored.bytes.size());
    return {wide.begin(), wide.end()};
  }

 private:
  std::unique_ptr<SafetensorsFile> file_;
};

Plan ParsePlan(const std::string& text, int64_t layers) {
  return (absl::StrContains(text, "-") ? Plan::ParseRuns(text, layers) : Plan::ParseTriple(text, layers)).value();
}

void ExpectGoldens(const std::string& family, const std::string& sender_spec, const std::string& receiver_spec) {
  const Goldens goldens;
  const auto sender = Load(sender_spec), receiver = Load(receiver_spec);
  const std::vector<int32_t> tokens = goldens.Tokens(family + ".tokens");
  const std::unique_ptr<ContextCache> cache = CaptureAll(*sender, tokens, kContext);
  EXPECT_LE(MaxDifference(FullLogits(*receiver, tokens).slice(0, kContext), goldens.Logits(family + ".full")),
            kTolerance);
  int plans = 0;
  for (const auto& [name, stored] : goldens.file().tensors()) {
    if (!absl::StartsWith(name, family + "@")) continue;
    const Plan plan = ParsePlan(name.substr(family.size() + 1), receiver->config().layers);
    InProcessSource source(*cache);
    TestSequence sequence(*receiver, static_cast<int64_t>(tokens.size()));
    const PrefillResult result =
        MustPrefill(*receiver, sequence,
                    {.tokens = tokens, .run = sequence.run, .plan = plan, .source = &source, .first_wanted = kContext});
    EXPECT_LE(MaxDifference(result.logits, goldens.Logits(name)), kTolerance) << name;
    ++plans;
  }
  EXPECT_GE(plans, 12);
}

TEST(GoldenPlansTest, ReceiverWithLlama3ScalingOfAPlainSender) {
  ExpectGoldens("llama", Data("llama-sender"), Data("llama-receiver"));
}

TEST(GoldenPlansTest, WindowedTiedReceiverWithAdapterAndOtherTheta) {
  ExpectGoldens("mistral", Data("mistral-sender"), Data("mistral-receiver") + "+" + Data("mistral-adapter"));
}

// Biases, windows of the later layers, yarn; norms of heads; longrope in both regimes, with a part of each head, and a
// pair whose models are in different ones; frequencies of the very length.
class GoldenFamiliesTest : public ::testing::TestWithParam<const char*> {};

TEST_P(GoldenFamiliesTest, PlansEqualTheReference) {
  const std::string name = GetParam();
  ExpectGoldens(name, Data(name + "-sender"), Data(name + "-receiver"));
}

INSTANTIATE_TEST_SUITE_P(Families, GoldenFamiliesTest,
                         ::testing::Values("qwen2", "qwen3", "phi3-short", "phi3-long", "phi3-mixed", "dynamic"),
                         [](const auto& info) {
                           return absl::StrReplaceAll(info.param, {{"-", "_"}});
                         });

}  // namespace
}  // namespace droidspeak
