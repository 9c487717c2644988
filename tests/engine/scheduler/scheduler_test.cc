// SPDX-License-Identifier: Apache-2.0
#include "engine/scheduler/scheduler.h"

#include <memory>
#include <string>
#include <vector>

#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/engine/scheduler/scheduler_harness.h"

namespace droidspeak {
namespace {

using ::testing::HasSubstr;

// A prompt of any length, the same for the same seed.
std::vector<int32_t> Prompt(int64_t length, uint64_t seed) {
  return RandomTokens(length, TinyModel{}.vocab, seed);
}

TEST(Scheduler, BatchedAnswersAreThoseOfEachPromptAlone) {
  const auto model = LoadTinyModel({});
  TestScheduler test(model, {.slots = 4096});
  std::vector<std::shared_ptr<Heard>> heard;
  for (int i = 0; i < 24; ++i) heard.push_back(test.Ask(Prompt(1 + i * 7, i), 1 + i % 9 * 6));
  for (int i = 0; i < 24; ++i) {
    ASSERT_TRUE(heard[i]->WaitForEnd()) << i;
    EXPECT_EQ(heard[i]->reason(), EndReason::kLength) << i;
    EXPECT_EQ(heard[i]->tokens(), Alone(*model, Prompt(1 + i * 7, i), 1 + i % 9 * 6)) << i;
    EXPECT_EQ(heard[i]->report().plan, "full");
  }
  EXPECT_EQ(test.Metric("engine_requests_total{outcome=\"length\"}"), 24);
}

TEST(Scheduler, LongPromptsAreReadInStepsBetweenTokensOfOthers) {
  const auto model = LoadTinyModel({.max_positions = 4096});
  TestScheduler test(model, {.slots = 16384});
  const auto first = test.Ask(Prompt(20, 1), 600);
  ASSERT_TRUE(first->WaitForTokens(2));
  const auto second = test.Ask(Prompt(3000, 2), 4);
  const size_t before = first->tokens().size();
  ASSERT_TRUE(second->WaitForEnd());
  // 3,000 rows are six steps, each followed by a token of the first one.
  EXPECT_GE(first->tokens().size(), before + 5);
  EXPECT_EQ(second->tokens(), Alone(*model, Prompt(3000, 2), 4));
  ASSERT_TRUE(first->WaitForEnd());
  EXPECT_EQ(first->tokens(), Alone(*model, Prompt(20, 1), 600));
}

TEST(Scheduler, APromptThatBeginsLikeAnEarlierOneIsReadFromThere) {
  const auto model = LoadTinyModel({});
  TestScheduler test(model, {.slots = 4096});
  std::vector<int32_t> prompt = Prompt(100, 3);
  const auto first = test.Ask(prompt, 20);
  ASSERT_TRUE(first->WaitForEnd());
  EXPECT_EQ(first->report().own_tokens, 0);
  const auto again = test.Ask(prompt, 20);
  ASSERT_TRUE(again->WaitForEnd());
  EXPECT_EQ(again->report().own_tokens, 99);
  EXPECT_EQ(again->report().context_tokens, 99);
  EXPECT_EQ(again->tokens(), first->tokens());
  // The next turn of a conversation: prompt, answer (whose last token was not read), and more.
  const std::vector<int32_t> answer = first->tokens();
  prompt.insert(prompt.end(), answer.begin(), answer.end());
  const std::vector<int32_t> question = Prompt(30, 4);
  prompt.insert(prompt.end(), question.begin(), question.end());
  const auto next = test.Ask(prompt, 10);
  ASSERT_TRUE(next->WaitForEnd());
  EXPECT_EQ(next->report().own_tokens, 119);
  EXPECT_EQ(next->tokens(), Alone(*model, prompt, 10));
  EXPECT_EQ(test.Metric("engine_reused_tokens_total{cache=\"own\"}"), 99 + 119);
}

TEST(Scheduler, AnAnswerUnderWayIsAPrefixForOthers) {
  const auto model = LoadTinyModel({});
  TestScheduler test(model, {.slots = 4096});
  const std::vector<int32_t> prompt = Prompt(150, 5);
  const auto first = test.Ask(prompt, 300);
  ASSERT_TRUE(first->WaitForTokens(1));
  const auto second = test.Ask(prompt, 5);
  ASSERT_TRUE(second->WaitForEnd());
  EXPECT_EQ(second->report().own_tokens, 149);
  ASSERT_TRUE(first->WaitForEnd());
  const std::vector<int32_t> tokens = first->tokens();
  EXPECT_EQ(second->tokens(), std::vector<int32_t>(tokens.begin(), tokens.begin() + 5));
}

TEST(Scheduler, SeveralAnswersToOnePromptReadItOnce) {
  const auto model = LoadTinyModel({});
  TestScheduler test(model, {.slots = 4096});
  const std::vector<int32_t> prompt = Prompt(120, 6);
  std::vector<GenerationRequest> requests(5);
  std::vector<std::shared_ptr<Heard>> heard;
  for (size_t i = 0; i < requests.size(); ++i) {
    heard.push_back(std::make_shared<Heard>());
    requests[i] = {.model = &test.served,
                   .prompt = prompt,
                   .max_tokens = 30,
                   .sampling = {.temperature = 1, .seed = 40 + i},
                   .listener = heard.back()};
  }
  ASSERT_TRUE(test.scheduler->Submit(std::move(requests)).ok());
  for (size_t i = 0; i < heard.size(); ++i) {
    ASSERT_TRUE(heard[i]->WaitForEnd());
    EXPECT_EQ(heard[i]->report().own_tokens, i == 0 ? 0 : 119);
    // Draws depend on the seed alone, not on what else is computed.
    EXPECT_EQ(heard[i]->tokens(), Alone(*model, prompt, 30, {.temperature = 1, .seed = 40 + i})) << i;
  }
}

TEST(Scheduler, WithoutSlotsToGrowIntoTheLatestIsPutBackAndNothingChanges) {
  const auto model = LoadTinyModel({});
  // Three begin, with 10 + 256 slots each, but only one can become 10 + 400 long beside another.
  TestScheduler test(model, {.slots = 820});
  std::vector<std::shared_ptr<Heard>> heard;
  for (int i = 0; i < 6; ++i) heard.push_back(test.Ask(Prompt(10, 20 + i), 400));
  for (int i = 0; i < 6; ++i) {
    ASSERT_TRUE(heard[i]->WaitForEnd()) << i;
    EXPECT_EQ(heard[i]->tokens(), Alone(*model, Prompt(10, 20 + i), 400)) << i;
  }
  ASSERT_TRUE(test.scheduler->Drain(absl::Now() + absl::Seconds(10)));
  test.scheduler->EndAnswers();  // its last pass has counted what is in use
  EXPECT_GT(test.Metric("engine_preempted_total"), 0);
  EXPECT_EQ(test.Metric("engine_kv_slots{state=\"running\"}"), 0);
}

TEST(Scheduler, KeptPrefixesGiveWayToAnswers) {
  const auto model = LoadTinyModel({});
  TestScheduler test(model, {.slots = 300});
  for (int i = 0; i < 8; ++i) {
    const auto heard = test.Ask(Prompt(200, 30 + i), 60);
    ASSERT_TRUE(heard->WaitForEnd());
    EXPECT_EQ(heard->tokens(), Alone(*model, Prompt(200, 30 + i), 60)) << i;
  }
  EXPECT_LE(test.Metric("engine_kv_slots{state=\"kept\"}"), 300);
}

TEST(Scheduler, WhatIsTooLongOrTooMuchIsRefused) {
  const auto model = LoadTinyModel({.max_positions = 512});
  TestScheduler test(model, {.slots = 300, .max_running = 1, .max_waiting = 3});
  EXPECT_EQ(test.scheduler->max_tokens(), 301);
  const absl::Status status = test.scheduler->Submit(
      {{.model = &test.served, .prompt = Prompt(200, 1), .max_tokens = 102, .listener = std::make_shared<Heard>()}});
  EXPECT_TRUE(absl::IsInvalidArgument(status));
  EXPECT_THAT(std::string(status.message()), HasSubstr("301"));
  std::vector<std::shared_ptr<Heard>> heard = {test.Ask(Prompt(1, 1), 300)};
  ASSERT_TRUE(heard[0]->WaitForTokens(1));
  for (int i = 0; i < 3; ++i) heard.push_back(test.Ask(Prompt(5, i), 2));
  const absl::Status full = test.scheduler->Submit(
      {{.model = &test.served, .prompt = Prompt(5, 9), .max_tokens = 2, .listener = std::make_shared<Heard>()}});
  // The first one's answer may have ended on a fast machine before the fourth was queued.
  if (heard[0]->reason() == std::nullopt) {
    EXPECT_TRUE(absl::IsResourceExhausted(full)) << full;
  }
  for (const auto& one : heard) ASSERT_TRUE(one->WaitForEnd());
}

TEST(Scheduler, AnAnswerNobodyWantsEndsAtOnceAndLeavesNothing) {
  const auto model = LoadTinyModel({.max_positions = 8192});
  TestScheduler test(model, {.slots = 20000});
  const auto running = test.Ask(Prompt(50, 1), 8000), other = test.Ask(Prompt(60, 2), 200);
  ASSERT_TRUE(running->WaitForTokens(3));
  running->HangUp();
  test.scheduler->Wake();
  ASSERT_TRUE(running->WaitForEnd());
  EXPECT_EQ(running->reason(), EndReason::kCancelled);
  EXPECT_LT(running->tokens().size(), 8000u);
  ASSERT_TRUE(other->WaitForEnd());
  EXPECT_EQ(other->tokens(), Alone(*model, Prompt(60, 2), 200));
  ASSERT_TRUE(test.scheduler->Drain(absl::Now() + absl::Seconds(10)));
  EXPECT_EQ(test.Metric("engine_running"), 0);
  EXPECT_EQ(test.Metric("engine_queue_length"), 0);
  EXPECT_EQ(test.Metric("engine_kv_slots{state=\"running\"}"), 0);
}

TEST(Scheduler, AListenerEndsItsAnswer) {
  const auto model = LoadTinyModel({});
  TestScheduler test(model, {.slots = 1000});
  const auto heard = std::make_shared<Heard>(/*stop_after=*/4);
  ASSERT_TRUE(test.scheduler
                  ->Submit({{.model = &test.served,
                             .prompt = Prompt(10, 1),
                             .max_tokens = 50,
                             .sampling = {.temperature = 0},
                             .listener = heard}})
                  .ok());
  ASSERT_TRUE(heard->WaitForEnd());
  EXPECT_EQ(heard->reason(), EndReason::kStop);
  EXPECT_EQ(heard->tokens(), Alone(*model, Prompt(10, 1), 4));
}

TEST(Scheduler, DrainingRefusesNewRequestsAndEndsTheOthers) {
  const auto model = LoadTinyModel({});
  TestScheduler test(model, {.slots = 1000});
  const auto heard = test.Ask(Prompt(10, 1), 300);
  EXPECT_TRUE(test.scheduler->Drain(absl::Now() + absl::Seconds(30)));
  EXPECT_EQ(heard->reason(), EndReason::kLength);
  const absl::Status late = test.scheduler->Submit(
      {{.model = &test.served, .prompt = Prompt(10, 1), .max_tokens = 3, .listener = std::make_shared<Heard>()}});
  EXPECT_TRUE(absl::IsUnavailable(late));
}

TEST(Scheduler, ItsEndEndsAllAnswers) {
  const auto model = LoadTinyModel({.max_positions = 8192});
  auto test = std::make_unique<TestScheduler>(model, SchedulerOptions{.slots = 20000, .max_running = 2});
  std::vector<std::shared_ptr<Heard>> heard;
  for (int i = 0; i < 5; ++i) heard.push_back(test->Ask(Prompt(10, i), 8000));
  ASSERT_TRUE(heard[0]->WaitForTokens(1));
  test.reset();
  for (const auto& one : heard) EXPECT_EQ(one->reason(), EndReason::kCancelled);
}

// Keys above layer 0 depend on the regime: what a short request leaves is nothing to a long one.
TEST(Scheduler, RegimesOfRopeShareNothing) {
  const auto model = LoadTinyModel({.longrope = 128});
  TestScheduler test(model, {.slots = 4096});
  const std::vector<int32_t> prompt = Prompt(100, 8);
  for (const int64_t max_tokens : {10, 60, 10, 60}) {
    const auto heard = test.Ask(prompt, max_tokens);
    ASSERT_TRUE(heard->WaitForEnd());
    EXPECT_EQ(heard->tokens(), Alone(*model, prompt, max_tokens)) << max_tokens;
  }
  EXPECT_EQ(test.Metric("engine_reused_tokens_total{cache=\"own\"}"), 2 * 99);
}

TEST(Scheduler, WhatDependsOnTheLengthItselfIsNotShared) {
  const auto model = LoadTinyModel({.max_positions = 64, .dynamic = true});
  TestScheduler test(model, {.slots = 4096});
  const int64_t most = test.scheduler->max_tokens();
  const std::vector<int32_t> prompt = Prompt(most - 20, 8);
  for (const int64_t max_tokens : {int64_t{5}, int64_t{20}, int64_t{12}}) {
    const auto heard = test.Ask(prompt, max_tokens);
    ASSERT_TRUE(heard->WaitForEnd());
    EXPECT_EQ(heard->tokens(), Alone(*model, prompt, max_tokens)) << max_tokens;
  }
}

}  // namespace
}  // namespace droidspeak
