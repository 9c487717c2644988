// SPDX-License-Identifier: Apache-2.0
// A real cache server process, tiny models that fill it, and one that answers from it.
#pragma once

#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "absl/time/clock.h"
#include "engine/prefill/decode.h"
#include "engine/prefill/fill_context.h"
#include "engine/prefill/server_source.h"
#include "engine/prefill/store_back.h"
#include "gtest/gtest.h"
#include "tests/engine/prefill/prefill_harness.h"
#include "tests/support/server_process.h"

namespace droidspeak {

inline constexpr double kTolerance = 1e-4;
inline constexpr int64_t kBlock = 16, kLength = 70, kContext = 48;

inline TinyModel Base() {
  return {};
}
inline TinyModel Tuned() {
  return {.drift_seed = 9, .drift = 0.3};
}

inline std::vector<int64_t> AllLayers() {
  std::vector<int64_t> layers(Base().layers);
  std::iota(layers.begin(), layers.end(), 0);
  return layers;
}

class PrefillServerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    server_ = ServerProcess::Start("cache-0").value();
    cache_ = RemoteCache::Connect(server_->listen(), {}).value();
  }

  ModelNamespaces OpenAll(const Model& model) {
    const ModelPath& path = model.path();
    const std::string spec = path.adapter.empty() ? path.dir : path.dir + "+" + path.adapter;
    return cache_->OpenModel(spec, model.config(), model.dtype(), kBlock).value();
  }
  NamespaceHandle Open(const Model& model, int64_t reach = 1) { return *OpenAll(model).For(reach); }

  // Leaves the model's tensors of the first `count` tokens on the servers.
  void Fill(const Model& model, const std::vector<int32_t>& tokens, int64_t count,
            const std::vector<int64_t>& e_layers = AllLayers(), int64_t reach = 0) {
    const absl::StatusOr<int64_t> computed =
        FillContext(*cache_, model, OpenAll(model),
                    {.tokens = absl::MakeConstSpan(tokens).subspan(0, count), .reach = reach, .e_layers = e_layers});
    ASSERT_TRUE(computed.ok()) << computed.status();
  }

  ServerSourceOptions Options(const std::vector<int32_t>& tokens, int64_t context, const Model* own,
                              const Model* sender) {
    const auto reach = static_cast<int64_t>(tokens.size());
    ServerSourceOptions options;
    options.tokens = absl::MakeConstSpan(tokens).subspan(0, context);
    if (own != nullptr) options.own = Open(*own, reach);
    if (sender != nullptr) options.sender = Open(*sender, reach);
    return options;
  }

  // The rows from the context on, whatever the source gives.
  static PrefillResult Answer(const Model& receiver, const std::vector<int32_t>& tokens, const Plan& plan,
                              ContextSource& source, int64_t first_wanted = kContext) {
    TestSequence sequence(receiver, static_cast<int64_t>(tokens.size()));
    return MustPrefill(
        receiver, sequence,
        {.tokens = tokens, .run = sequence.run, .plan = plan, .source = &source, .first_wanted = first_wanted});
  }

  // The greedy answer behind a prefill of `prompt`, whose rows go to `store`, too.
  static std::vector<int32_t> DecodeStoring(const Model& model, TestSequence& sequence,
                                            const std::vector<int32_t>& prompt, const PrefillResult& prefill,
                                            int64_t max_tokens, int64_t reach, StoreBack& store) {
    Sampler sampler({.temperature = 0});
    const auto on_token = [&store](int32_t token) {
      store.Append(absl::MakeConstSpan(&token, 1));
      return true;
    };
    const auto answer = Decode(model, *sequence.slab, sampler,
                               {.run = sequence.run,
                                .reach = reach,
                                .position = static_cast<int64_t>(prompt.size()),
                                .first = sampler.Choose(LastRow(prefill.logits)).token,
                                .max_tokens = max_tokens,
                                .on_token = on_token,
                                .capture = &store});
    EXPECT_TRUE(answer.ok()) << answer.status();
    const absl::Status sealed = store.Finish(false, absl::Now() + absl::Seconds(30));
    EXPECT_TRUE(sealed.ok()) << sealed;
    return answer.value_or(std::vector<int32_t>());
  }

  // The same in process, with exactly `context` tokens of the sender.
  static at::Tensor Expected(const Model& receiver, const Model& sender, const std::vector<int32_t>& tokens,
                             const Plan& plan, int64_t context, int64_t first_wanted = kContext) {
    if (context == 0) return FullLogits(receiver, tokens).slice(0, first_wanted);
    const std::unique_ptr<ContextCache> cache = CaptureAll(sender, tokens, context);
    InProcessSource source(*cache);
    return Answer(receiver, tokens, plan, source, first_wanted).logits;
  }

  std::unique_ptr<ServerProcess> server_;
  std::unique_ptr<RemoteCache> cache_;
};

}  // namespace droidspeak
