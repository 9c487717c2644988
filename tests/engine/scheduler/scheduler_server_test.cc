// SPDX-License-Identifier: Apache-2.0
// The scheduler with real cache servers: other models' contexts, its own blocks, and what it leaves.
#include <memory>
#include <vector>

#include "absl/time/clock.h"
#include "engine/prefill/store_queue.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/engine/prefill/prefill_server_fixture.h"
#include "tests/engine/scheduler/scheduler_harness.h"

namespace droidspeak {
namespace {

constexpr int64_t kAnswer = 12;

class SchedulerServerTest : public PrefillServerTest {
 protected:
  // An engine that serves `model` and may use the senders' caches.
  struct Engine {
    std::unique_ptr<StoreQueue> stores;
    std::unique_ptr<ContextOpener> contexts;
    std::unique_ptr<TestScheduler> test;

    TestScheduler* operator->() const { return test.get(); }
    // What is queued for the servers is there.
    void Store() const { EXPECT_TRUE(stores->Drain(absl::Now() + absl::Seconds(30))); }
  };
  Engine Serve(const std::shared_ptr<const Model>& model, std::vector<ContextSender> senders = {},
               SchedulerOptions options = {.slots = 4096, .e_layers = AllLayers()},
               const StoreQueueOptions& storing = {}) {
    Engine engine;
    engine.stores = std::make_unique<StoreQueue>(*cache_, model->config(), storing);
    engine.contexts =
        std::make_unique<ContextOpener>(*cache_, model->config().layers, options.e_layers, std::move(senders));
    engine.test = std::make_unique<TestScheduler>(model, std::move(options), engine.contexts.get(), engine.stores.get(),
                                                  OpenAll(*model));
    return engine;
  }

  ContextSender Sender(const Model& model, const std::string& name, const Plan& plan) {
    return {.name = name, .namespaces = OpenAll(model), .common_vocabulary = model.config().vocab_size, .plan = plan};
  }

  // The greedy answer with exactly `own` tokens of the receiver's own and the sender's up to `context`, computed in
  // process.
  static std::vector<int32_t> ExpectedAnswer(const Model& receiver, const Model& sender,
                                             const std::vector<int32_t>& prompt, const Plan& plan, int64_t context,
                                             int64_t own = 0) {
    const std::unique_ptr<ContextCache> cache = CaptureAll(sender, prompt, context);
    InProcessSource source(*cache, own);
    TestSequence sequence(receiver, static_cast<int64_t>(prompt.size()) + kAnswer);
    if (own > 0) ComputeOwnPrefix(receiver, sequence, prompt, own);
    const PrefillResult prefill =
        MustPrefill(receiver, sequence, {.tokens = prompt, .run = sequence.run, .plan = plan, .source = &source});
    Sampler sampler({.temperature = 0});
    return Decode(receiver, *sequence.slab, sampler,
                  {.run = sequence.run,
                   .position = static_cast<int64_t>(prompt.size()),
                   .first = sampler.Choose(LastRow(prefill.logits)).token,
                   .max_tokens = kAnswer})
        .value();
  }
};

TEST_F(SchedulerServerTest, AnswersAreThoseOfTheReportedPlanAndContext) {
  const auto receiver = LoadTinyModel(Tuned()), sender = LoadTinyModel(Base());
  const Plan plan = Plan::ParseTriple("1,2,3", Base().layers).value();
  Engine engine = Serve(receiver, {Sender(*sender, "base", plan)});
  for (uint64_t seed = 50; seed < 54; ++seed) {
    const std::vector<int32_t> prompt = RandomTokens(kLength, Base().vocab, seed);
    Fill(*sender, prompt, kContext);
    const auto heard = engine->Ask(prompt, kAnswer);
    ASSERT_TRUE(heard->WaitForEnd());
    const PromptReport report = heard->report();
    EXPECT_EQ(report.plan, "1,2,3");
    EXPECT_EQ(report.sender, "base");
    EXPECT_EQ(report.context_tokens, kContext);
    EXPECT_EQ(report.own_tokens, 0);
    EXPECT_GT(report.stats.kv_bytes, 0u);
    EXPECT_EQ(heard->tokens(), ExpectedAnswer(*receiver, *sender, prompt, plan, kContext));
  }
}

// What has read another model's tensors is approximate: neither the slab nor the servers keep it.
TEST_F(SchedulerServerTest, AfterAnswersWithPlansFullOnesAreAsBefore) {
  const auto receiver = LoadTinyModel(Tuned()), sender = LoadTinyModel(Base());
  const std::vector<int32_t> prompt = RandomTokens(kLength, Base().vocab, 60);
  Fill(*sender, prompt, kContext);
  for (const char* text : {"1,2,3", "0,0,0", "2,2,2", "0,1,4"}) {
    // Each layer is on its way before it is known how the forward ends.
    Engine engine = Serve(receiver, {Sender(*sender, "base", Plan::ParseTriple(text, Base().layers).value())},
                          {.slots = 4096, .e_layers = AllLayers()}, {.flush_bytes = 1});
    const auto planned = engine->Ask(prompt, kAnswer);
    ASSERT_TRUE(planned->WaitForEnd());
    EXPECT_EQ(planned->report().context_tokens, kContext) << text;
    engine.Store();
    // Less than a block can't come from the servers: what the slab has of it would be used.
    const std::vector<int32_t> beginning(prompt.begin(), prompt.begin() + kBlock - 1);
    const auto exact = engine->Ask(beginning, 1);
    ASSERT_TRUE(exact->WaitForEnd());
    EXPECT_EQ(exact->report().own_tokens, 0) << text;
    EXPECT_EQ(exact->tokens(), Alone(*receiver, beginning, 1)) << text;
  }
  const std::vector<int32_t> expected = Alone(*receiver, prompt, kAnswer);
  Engine engine = Serve(receiver);
  const auto cold = engine->Ask(prompt, kAnswer);
  ASSERT_TRUE(cold->WaitForEnd());
  EXPECT_EQ(cold->report().own_tokens, 0);
  EXPECT_EQ(cold->tokens(), expected);
  engine.Store();
  // Now the model's own blocks are there, those of the answer too.
  Engine other = Serve(receiver);
  std::vector<int32_t> longer = prompt;
  const std::vector<int32_t> answer = cold->tokens();
  longer.insert(longer.end(), answer.begin(), answer.end());
  longer.push_back(7);
  const auto warm = other->Ask(longer, kAnswer);
  ASSERT_TRUE(warm->WaitForEnd());
  EXPECT_EQ(warm->report().own_tokens, 80);  // five blocks of 16 of 83 tokens, 81 of which had been computed
  EXPECT_EQ(warm->tokens(), Alone(*receiver, longer, kAnswer));
}

TEST_F(SchedulerServerTest, WhatIsServedFeedsAnotherModelsPlans) {
  const auto receiver = LoadTinyModel(Tuned()), sender = LoadTinyModel(Base());
  const std::vector<int32_t> prompt = RandomTokens(kLength, Base().vocab, 61);
  Engine first = Serve(sender);
  const auto answer = first->Ask(prompt, 30);
  ASSERT_TRUE(answer->WaitForEnd());
  first.Store();
  EXPECT_EQ(first.stores->cut_short(), 0);
  std::vector<int32_t> longer = prompt;
  const std::vector<int32_t> answered = answer->tokens();
  longer.insert(longer.end(), answered.begin(), answered.end());
  const Plan plan = Plan::ParseTriple("0,2,4", Base().layers).value();
  Engine second = Serve(receiver, {Sender(*sender, "base", plan)});
  const auto heard = second->Ask(longer, kAnswer);
  ASSERT_TRUE(heard->WaitForEnd());
  EXPECT_EQ(heard->report().context_tokens, 96);  // of 100 tokens, 99 of which had been computed
  EXPECT_EQ(heard->tokens(), ExpectedAnswer(*receiver, *sender, longer, plan, 96));
}

TEST_F(SchedulerServerTest, OwnRowsInTheSlabAndASendersBlocksMakeOneContext) {
  const auto receiver = LoadTinyModel(Tuned()), sender = LoadTinyModel(Base());
  const std::vector<int32_t> prompt = RandomTokens(kLength, Base().vocab, 62);
  const Plan plan = Plan::ParseTriple("1,2,3", Base().layers).value();
  Engine engine = Serve(receiver, {Sender(*sender, "base", plan)});
  // Twenty rows of its own, one block and a quarter, stay in the slab.
  const auto own = engine->Ask({prompt.begin(), prompt.begin() + 20}, 1);
  ASSERT_TRUE(own->WaitForEnd());
  EXPECT_EQ(own->report().plan, "full");
  Fill(*sender, prompt, kContext + kBlock);
  const auto heard = engine->Ask(prompt, kAnswer);
  ASSERT_TRUE(heard->WaitForEnd());
  EXPECT_EQ(heard->report().own_tokens, kBlock);  // the rest of them gives way to the sender's next block
  EXPECT_EQ(heard->report().context_tokens, kContext + kBlock);
  EXPECT_EQ(heard->tokens(), ExpectedAnswer(*receiver, *sender, prompt, plan, kContext + kBlock, kBlock));
}

TEST_F(SchedulerServerTest, TheSenderThatReachesFurthestIsUsed) {
  const auto receiver = LoadTinyModel(Tuned()), near = LoadTinyModel(Base()),
             far = LoadTinyModel({.drift_seed = 10, .drift = 0.2});
  const std::vector<int32_t> prompt = RandomTokens(kLength, Base().vocab, 63);
  Fill(*near, prompt, kBlock);
  Fill(*far, prompt, 3 * kBlock);
  const Plan one = Plan::ParseTriple("0,1,2", Base().layers).value(),
             two = Plan::ParseRuns("1-3", Base().layers).value();
  Engine engine = Serve(receiver, {Sender(*near, "near", one), Sender(*far, "far", two)});
  const auto heard = engine->Ask(prompt, kAnswer);
  ASSERT_TRUE(heard->WaitForEnd());
  EXPECT_EQ(heard->report().sender, "far");
  EXPECT_EQ(heard->report().plan, "1-3");
  EXPECT_EQ(heard->tokens(), ExpectedAnswer(*receiver, *far, prompt, two, 3 * kBlock));
}

TEST_F(SchedulerServerTest, MemoryForOneBlockStoresALongPrompt) {
  const auto model = LoadTinyModel(Base());
  const std::vector<int32_t> prompt = RandomTokens(10 * kBlock + 3, Base().vocab, 67);
  const SchedulerOptions options = {.slots = 4096, .e_layers = AllLayers()};
  Engine engine = Serve(model, {}, options, {.each_staging_bytes = 1, .flush_bytes = 1});
  ASSERT_TRUE(engine->Ask(prompt, 2 * kBlock)->WaitForEnd());
  engine.Store();
  EXPECT_EQ(engine.stores->cut_short(), 0);
  EXPECT_EQ(engine.stores->queued_bytes(), 0);
  Engine other = Serve(model);
  const auto warm = other->Ask(prompt, kAnswer);
  ASSERT_TRUE(warm->WaitForEnd());
  EXPECT_EQ(warm->report().own_tokens, 10 * kBlock);
  EXPECT_EQ(warm->tokens(), Alone(*model, prompt, kAnswer));
}

TEST_F(SchedulerServerTest, WithoutMemoryForCopiesAnAnswerIsNotStored) {
  const auto model = LoadTinyModel(Base());
  const std::vector<int32_t> prompt = RandomTokens(kLength, Base().vocab, 68);
  const SchedulerOptions options = {.slots = 4096, .e_layers = AllLayers()};
  Engine engine = Serve(model, {}, options, {.copy_bytes = kLength * 4});  // for the tokens alone
  const auto heard = engine->Ask(prompt, kAnswer);
  ASSERT_TRUE(heard->WaitForEnd());
  EXPECT_EQ(heard->tokens(), Alone(*model, prompt, kAnswer));
  engine.Store();
  EXPECT_EQ(engine.stores->cut_short(), 1);
  EXPECT_EQ(engine.stores->queued_bytes(), 0);
}

// Applied or merged, an adapter has one cache; and the model beside which it is applied is a sender like another.
TEST_F(SchedulerServerTest, AnAdaptersCacheIsThatOfTheMergedModel) {
  const auto base = LoadTinyModel(Base()), merged = LoadTinyModelWithAdapter(Base(), 33);
  const Plan plan = Plan::ParseTriple("1,2,3", Base().layers).value();
  const ServedModel applied{.name = "applied", .adapter = LoadTinyAdapter(base, Base(), 33), .own = OpenAll(*merged)};
  const std::vector<int32_t> prompt = RandomTokens(kLength, Base().vocab, 65), next = RandomTokens(kLength, 60, 66);
  Engine engine = Serve(base, {Sender(*base, "base", plan)});
  const auto ask = [&](const std::vector<int32_t>& tokens) {
    auto heard = engine->Ask(tokens, kAnswer, {.temperature = 0}, &applied);
    EXPECT_TRUE(heard->WaitForEnd());
    return heard;
  };
  const auto cold = ask(prompt);
  EXPECT_EQ(cold->report().plan, "full");
  EXPECT_EQ(cold->tokens(), Alone(*merged, prompt, kAnswer));
  engine.Store();
  Engine other = Serve(merged);
  const auto warm = other->Ask(prompt, kAnswer);
  ASSERT_TRUE(warm->WaitForEnd());
  EXPECT_EQ(warm->report().own_tokens, kLength / kBlock * kBlock);
  EXPECT_EQ(warm->tokens(), cold->tokens());

  ASSERT_TRUE(engine->Ask(next, 1)->WaitForEnd());  // the model without it reads what comes next
  engine.Store();
  const auto planned = ask(next);
  EXPECT_EQ(planned->report().plan, "1,2,3");
  EXPECT_EQ(planned->report().context_tokens, kLength / kBlock * kBlock);
  EXPECT_EQ(planned->tokens(), ExpectedAnswer(*merged, *base, next, plan, kLength / kBlock * kBlock));
}

TEST_F(SchedulerServerTest, AServerThatDiesCostsTimeOnly) {
  const auto receiver = LoadTinyModel(Tuned()), sender = LoadTinyModel(Base());
  const Plan plan = Plan::ParseTriple("1,2,3", Base().layers).value();
  const std::vector<int32_t> prompt = RandomTokens(kLength, Base().vocab, 64);
  Fill(*sender, prompt, kContext);
  Engine engine = Serve(receiver, {Sender(*sender, "base", plan)});
  server_->Kill();
  const auto heard = engine->Ask(prompt, kAnswer);
  ASSERT_TRUE(heard->WaitForEnd());
  EXPECT_EQ(heard->report().plan, "full");
  EXPECT_EQ(heard->report().context_tokens, 0);
  EXPECT_EQ(heard->tokens(), Alone(*receiver, prompt, kAnswer));
}

}  // namespace
}  // namespace droidspeak
