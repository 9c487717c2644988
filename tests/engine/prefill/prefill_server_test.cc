// SPDX-License-Identifier: Apache-2.0
// The invariants of docs/partial-prefill.md through real cache server processes.
#include <signal.h>

#include <functional>
#include <memory>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "engine/prefill/store_back.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/engine/prefill/prefill_server_fixture.h"

namespace droidspeak {
namespace {

// Calls `event` right after the fetches have been started, or when E is asked for the second time.
class InterruptedSource : public ContextSource {
 public:
  enum class When { kStarted, kSecondE };
  InterruptedSource(ContextSource& inner, When when, std::function<void()> event)
      : inner_(inner), when_(when), event_(std::move(event)) {}
  absl::Status Begin(const Plan& plan, const ContextTarget& target) override {
    absl::Status status = inner_.Begin(plan, target);
    if (when_ == When::kStarted) event_();
    return status;
  }
  int64_t tokens() const override { return inner_.tokens(); }
  int64_t own_tokens() const override { return inner_.own_tokens(); }
  at::Tensor E(int64_t layer, int64_t row, int64_t /*max_rows*/) override {
    if (when_ == When::kSecondE && ++e_calls_ == 2) event_();
    return inner_.E(layer, row, kBlock);
  }
  bool EArrived(int64_t layer, int64_t row) override { return inner_.EArrived(layer, row); }
  bool KvArrived() override { return inner_.KvArrived(); }
  void EndRepair() override { inner_.EndRepair(); }
  void Poll() override { inner_.Poll(); }
  void Place(int64_t layer) override { inner_.Place(layer); }
  void PlaceAll() override { inner_.PlaceAll(); }
  SourceStats stats() const override { return inner_.stats(); }
  std::string loss() const override { return inner_.loss(); }

 private:
  ContextSource& inner_;
  const When when_;
  const std::function<void()> event_;
  int e_calls_ = 0;
};

TEST_F(PrefillServerTest, SameModelAnswersEveryPlanLikeAFullPrefill) {
  const auto model = LoadTinyModel(Base());
  const std::vector<int32_t> tokens = RandomTokens(kLength, Base().vocab, 5);
  Fill(*model, tokens, kContext);
  const at::Tensor full = FullLogits(*model, tokens).slice(0, kContext);
  for (const Plan& plan : AllPlans(Base().layers)) {
    ServerSource source(*cache_, Options(tokens, kContext, nullptr, model.get()));
    const PrefillResult result = Answer(*model, tokens, plan, source);
    EXPECT_LE(MaxDifference(result.logits, full), kTolerance) << plan.text();
    EXPECT_EQ(result.context_tokens, plan.is_full() ? 0 : kContext) << plan.text();
    EXPECT_EQ(result.fallback, "");
  }
}

TEST_F(PrefillServerTest, AnotherModelsContextGivesWhatItGivesInProcess) {
  for (const TinyModel& kind : {Tuned(), TinyModel{.rope_theta = 700}, TinyModel{.window = 20}}) {
    const auto receiver = LoadTinyModel(kind), sender = LoadTinyModel(Base());
    const std::vector<int32_t> tokens = RandomTokens(kLength, Base().vocab, 6);
    Fill(*sender, tokens, kContext);
    for (const Plan& plan : AllPlans(Base().layers)) {
      if (plan.is_full()) continue;
      ServerSource source(*cache_, Options(tokens, kContext, nullptr, sender.get()));
      const PrefillResult result = Answer(*receiver, tokens, plan, source);
      const at::Tensor expected = Expected(*receiver, *sender, tokens, plan, kContext);
      EXPECT_LE(MaxDifference(result.logits, expected), kTolerance) << plan.text();
      const uint64_t blocks = kContext / kBlock, e_bytes = kBlock * 32 * 4, kv_bytes = 2 * 2 * kBlock * 8 * 4;
      EXPECT_EQ(result.stats.kv_bytes, plan.kv_layers().size() * blocks * kv_bytes) << plan.text();
      EXPECT_EQ(result.stats.e_bytes, plan.e_layers().size() * blocks * e_bytes) << plan.text();
    }
  }
}

TEST_F(PrefillServerTest, OwnBlocksComposeWithAPlan) {
  const auto model = LoadTinyModel(Base());
  const std::vector<int32_t> tokens = RandomTokens(kLength, Base().vocab, 7);
  Fill(*model, tokens, 2 * kBlock, /*e_layers=*/{});
  const auto sender = LoadTinyModel(Base());  // the same weights under another name: its own namespace is the same
  const at::Tensor full = FullLogits(*model, tokens).slice(0, kContext);
  Fill(*sender, tokens, kContext);
  for (const Plan& plan : AllPlans(Base().layers)) {
    ServerSourceOptions options = Options(tokens, kContext, model.get(), sender.get());
    options.tokens = absl::MakeConstSpan(tokens).subspan(0, kContext);
    ServerSource source(*cache_, options);
    const PrefillResult result = Answer(*model, tokens, plan, source);
    EXPECT_LE(MaxDifference(result.logits, full), kTolerance) << plan.text();
    EXPECT_EQ(result.context_tokens, kContext);
    EXPECT_EQ(result.own_tokens, kContext);
  }
}

TEST_F(PrefillServerTest, OwnLeadingBlocksAndASendersOthers) {
  const auto receiver = LoadTinyModel(Tuned()), sender = LoadTinyModel(Base());
  const std::vector<int32_t> tokens = RandomTokens(kLength, Base().vocab, 8);
  Fill(*receiver, tokens, kBlock, {});
  Fill(*sender, tokens, kContext);
  const std::unique_ptr<ContextCache> cache = CaptureAll(*sender, tokens, kContext);
  for (const Plan& plan : AllPlans(Base().layers)) {
    ServerSource source(*cache_, Options(tokens, kContext, receiver.get(), sender.get()));
    const PrefillResult result = Answer(*receiver, tokens, plan, source);
    EXPECT_EQ(result.own_tokens, kBlock);
    EXPECT_EQ(result.context_tokens, plan.is_full() ? kBlock : kContext) << plan.text() << ": " << result.fallback;
    TestSequence sequence(*receiver, kLength);
    ComputeOwnPrefix(*receiver, sequence, tokens, kBlock);
    InProcessSource local(*cache, kBlock);
    const PrefillResult expected =
        MustPrefill(*receiver, sequence,
                    {.tokens = tokens, .run = sequence.run, .plan = plan, .source = &local, .first_wanted = kContext});
    EXPECT_LE(MaxDifference(result.logits, expected.logits), kTolerance) << plan.text();
  }
}

TEST_F(PrefillServerTest, BlocksThatAreNotThereEndTheContext) {
  const auto receiver = LoadTinyModel(Tuned()), sender = LoadTinyModel(Base());
  const std::vector<int32_t> tokens = RandomTokens(kLength, Base().vocab, 9);
  Fill(*sender, tokens, 2 * kBlock, /*e_layers=*/{2});
  const auto context = [&](const char* triple) {
    const Plan plan = Plan::ParseTriple(triple, Base().layers).value();
    ServerSource source(*cache_, Options(tokens, kContext, nullptr, sender.get()));
    const PrefillResult result = Answer(*receiver, tokens, plan, source);
    EXPECT_EQ(result.context_tokens < kContext, !result.fallback.empty()) << triple;
    EXPECT_LE(MaxDifference(result.logits, Expected(*receiver, *sender, tokens, plan, result.context_tokens)),
              kTolerance)
        << triple;
    return result.context_tokens;
  };
  EXPECT_EQ(context("2,2,2"), 2 * kBlock);
  EXPECT_EQ(context("0,2,4"), 2 * kBlock);
  EXPECT_EQ(context("0,1,3"), 0);  // E of layer 1 was not kept
}

TEST_F(PrefillServerTest, AStagingRingOfOneItemIsEnough) {
  const auto receiver = LoadTinyModel(Tuned()), sender = LoadTinyModel(Base());
  const std::vector<int32_t> tokens = RandomTokens(kLength, Base().vocab, 10);
  Fill(*sender, tokens, kContext);
  Fill(*receiver, tokens, kBlock, {});
  for (const Plan& plan : AllPlans(Base().layers)) {
    ServerSourceOptions options = Options(tokens, kContext, nullptr, sender.get());
    options.max_staging_bytes = 1;
    ServerSource source(*cache_, options);
    const PrefillResult result = Answer(*receiver, tokens, plan, source);
    EXPECT_EQ(result.context_tokens, plan.is_full() ? 0 : kContext);
    if (plan.is_full()) continue;
    EXPECT_LE(MaxDifference(result.logits, Expected(*receiver, *sender, tokens, plan, kContext)), kTolerance);
    ServerSourceOptions with_own = Options(tokens, kContext, receiver.get(), sender.get());
    with_own.max_staging_bytes = 1;
    ServerSource composed(*cache_, with_own);
    const PrefillResult both = Answer(*receiver, tokens, plan, composed);
    EXPECT_EQ(both.context_tokens, kContext) << plan.text() << ": " << both.fallback;
  }
}

// A server takes 256 regions of a client.
TEST_F(PrefillServerTest, StagingThatIsAlwaysALittleLargerDoesNotUseUpTheRegions) {
  const NamespaceHandle ns = Open(*LoadTinyModel(Base()));
  for (uint64_t bytes = 4096; bytes < 400 * 4096; bytes += 4096) {
    const absl::StatusOr<Staging> staging = cache_->AllocateStaging(bytes);
    ASSERT_TRUE(staging.ok()) << staging.status();
    EXPECT_GE(staging->region().bytes(), bytes);
  }
  for (int i = 0; i < 300; ++i) {
    absl::StatusOr<Staging> staging = cache_->AllocateStaging(4096);
    ASSERT_TRUE(staging.ok()) << staging.status();
    staging->Abandon();
  }
  (void)cache_->client().Coverage(ns, {});  // behind what was said of regions
  EXPECT_EQ(cache_->client().live_servers(), 1);
}

TEST_F(PrefillServerTest, AServerKilledDuringAFetchOnlyMovesRowsToTheSuffix) {
  const auto receiver = LoadTinyModel(Tuned()), sender = LoadTinyModel(Base());
  const std::vector<int32_t> tokens = RandomTokens(500, Base().vocab, 11);
  const int64_t context = 480;
  const Plan plan = Plan::ParseTriple("1,2,3", Base().layers).value();
  for (const auto when : {InterruptedSource::When::kStarted, InterruptedSource::When::kSecondE}) {
    SetUp();
    Fill(*sender, tokens, context);
    ServerSource inner(*cache_, Options(tokens, context, nullptr, sender.get()));
    InterruptedSource source(inner, when, [&] { server_->Kill(); });
    const PrefillResult result = Answer(*receiver, tokens, plan, source, context);
    EXPECT_EQ(result.context_tokens < context, !result.fallback.empty());
    const at::Tensor expected = Expected(*receiver, *sender, tokens, plan, result.context_tokens, context);
    EXPECT_LE(MaxDifference(result.logits, expected), kTolerance) << result.context_tokens;
  }
}

TEST_F(PrefillServerTest, AServerThatStopsAnsweringIsOutwaitedOnlyToTheDeadline) {
  const auto receiver = LoadTinyModel(Tuned()), sender = LoadTinyModel(Base());
  const std::vector<int32_t> tokens = RandomTokens(kLength, Base().vocab, 12);
  Fill(*sender, tokens, kContext);
  const Plan plan = Plan::ParseTriple("0,1,3", Base().layers).value();
  ServerSourceOptions options = Options(tokens, kContext, nullptr, sender.get());
  options.deadline = absl::Milliseconds(300);
  ServerSource source(*cache_, options);
  server_->Suspend();
  const absl::Time start = absl::Now();
  const PrefillResult result = Answer(*receiver, tokens, plan, source);
  EXPECT_LT(absl::Now() - start, absl::Seconds(30));
  EXPECT_EQ(result.context_tokens, 0);
  EXPECT_LE(MaxDifference(result.logits, FullLogits(*receiver, tokens).slice(0, kContext)), kTolerance);
  server_->Signal(SIGCONT);
}

TEST_F(PrefillServerTest, NothingApproximateIsStored) {
  const auto receiver = LoadTinyModel(Tuned()), sender = LoadTinyModel(Base());
  const std::vector<int32_t> tokens = RandomTokens(kLength, Base().vocab, 13);
  Fill(*sender, tokens, kContext);
  for (const Plan& plan : AllPlans(Base().layers)) {
    if (plan.is_full()) continue;
    std::vector<int64_t> layers(plan.exact_layers());
    std::iota(layers.begin(), layers.end(), 0);
    std::unique_ptr<StoreBack> store;
    if (!layers.empty()) {
      store = StoreBack::Start(*cache_, receiver->config(), absl::MakeConstSpan(tokens).subspan(0, kContext),
                               {.ns = Open(*receiver), .kv_layers = layers, .e_layers = layers})
                  .value();
    }
    ServerSource source(*cache_, Options(tokens, kContext, nullptr, sender.get()));
    TestSequence sequence(*receiver, kLength);
    MustPrefill(*receiver, sequence,
                {.tokens = tokens, .run = sequence.run, .plan = plan, .source = &source, .capture = store.get()});
    if (store != nullptr) {
      const absl::Status sealed = store->Finish(false, absl::Now() + absl::Seconds(30));
      EXPECT_TRUE(sealed.ok()) << sealed;
    }
  }
  // What is there now belongs to exact layers: a prefill on top of it, with the rest computed, is that of a cold
  // engine.
  Fill(*receiver, tokens, kContext);
  ServerSource own(*cache_, Options(tokens, kContext, receiver.get(), nullptr));
  const PrefillResult warm = Answer(*receiver, tokens, Plan::Full(Base().layers), own);
  EXPECT_EQ(warm.own_tokens, kContext);
  EXPECT_LE(MaxDifference(warm.logits, FullLogits(*receiver, tokens).slice(0, kContext)), kTolerance);
}

// Two blocks and a part of one at once, then row by row: each layer waits for the memory of what was sent before.
TEST_F(PrefillServerTest, MemoryForOneBlockIsEnoughToStore) {
  const auto model = LoadTinyModel(Base());
  const std::vector<int32_t> prompt = RandomTokens(2 * kBlock + kBlock / 2, Base().vocab, 15);
  const StoreBackOptions options{.ns = Open(*model), .kv_layers = AllLayers(), .e_layers = {1}, .max_staging_bytes = 1};
  auto store = StoreBack::Start(*cache_, model->config(), prompt, options).value();
  TestSequence sequence(*model, kLength);
  const PrefillResult prefill =
      MustPrefill(*model, sequence,
                  {.tokens = prompt, .run = sequence.run, .plan = Plan::Full(Base().layers), .capture = store.get()});
  const std::vector<int32_t> answer = DecodeStoring(*model, sequence, prompt, prefill, kBlock, /*reach=*/0,
                                                    *store);  // which says whether all is stored
  std::vector<int32_t> tokens = prompt;
  tokens.insert(tokens.end(), answer.begin(), answer.end());
  ASSERT_GT(static_cast<int64_t>(tokens.size()), kContext);
  ServerSource own(*cache_, Options(tokens, kContext, model.get(), nullptr));
  const PrefillResult warm = Answer(*model, tokens, Plan::Full(Base().layers), own);
  EXPECT_EQ(warm.own_tokens, kContext);
  EXPECT_LE(MaxDifference(warm.logits, FullLogits(*model, tokens).slice(0, kContext)), kTolerance);
}

TEST_F(PrefillServerTest, BlocksFilledByDecodingAreStored) {
  const auto model = LoadTinyModel(Base());
  const std::vector<int32_t> prompt = RandomTokens(20, Base().vocab, 14);
  auto store = StoreBack::Start(*cache_, model->config(), prompt,
                                {.ns = Open(*model), .kv_layers = AllLayers(), .e_layers = AllLayers()})
                   .value();
  TestSequence sequence(*model, kLength);
  const PrefillResult prefill =
      MustPrefill(*model, sequence,
                  {.tokens = prompt, .run = sequence.run, .plan = Plan::Full(Base().layers), .capture = store.get()});
  const std::vector<int32_t> answer = DecodeStoring(*model, sequence, prompt, prefill, 30, /*reach=*/0, *store);
  ASSERT_FALSE(answer.empty());
  std::vector<int32_t> tokens = prompt;
  tokens.insert(tokens.end(), answer.begin(), answer.end());
  ServerSource own(*cache_, Options(tokens, 3 * kBlock, model.get(), nullptr));
  const PrefillResult warm = Answer(*model, tokens, Plan::Full(Base().layers), own);
  EXPECT_EQ(warm.own_tokens, 3 * kBlock);  // of 50 tokens, 49 rows of which were computed
  EXPECT_LE(MaxDifference(warm.logits, FullLogits(*model, tokens).slice(0, kContext)), kTolerance);
}

}  // namespace
}  // namespace droidspeak
