// SPDX-License-Identifier: Apache-2.0
// Adapters that share a model's batches, and nothing else.
#include <memory>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/engine/scheduler/scheduler_harness.h"

namespace droidspeak {
namespace {

constexpr uint64_t kOne = 31, kTwo = 32;  // seeds of adapters

class SchedulerAdapterTest : public ::testing::Test {
 protected:
  std::shared_ptr<Heard> Ask(const ServedModel* model, const std::vector<int32_t>& prompt, int64_t max_tokens) {
    return test_.Ask(prompt, max_tokens, {.temperature = 0}, model);
  }

  const std::shared_ptr<const Model> model_ = LoadTinyModel({});
  // What the adapters' answers have to equal.
  const std::shared_ptr<const Model> merged_one_ = LoadTinyModelWithAdapter({}, kOne),
                                     merged_two_ = LoadTinyModelWithAdapter({}, kTwo);
  const ServedModel one_{.name = "one", .adapter = LoadTinyAdapter(model_, {}, kOne)};
  const ServedModel two_{.name = "two", .adapter = LoadTinyAdapter(model_, {}, kTwo)};
  TestScheduler test_{model_, {.slots = 4096}};
};

TEST_F(SchedulerAdapterTest, AnswersOfOneBatchAreThoseOfTheMergedModels) {
  const std::vector<std::pair<const ServedModel*, const Model*>> models = {
      {nullptr, model_.get()}, {&one_, merged_one_.get()}, {&two_, merged_two_.get()}};
  std::vector<std::shared_ptr<Heard>> heard;
  heard.reserve(18);
  const auto prompt = [](int i) { return RandomTokens(1 + i * 9, TinyModel{}.vocab, i / 3); };
  for (int i = 0; i < 18; ++i) heard.push_back(Ask(models[i % 3].first, prompt(i), 20 + i));
  for (int i = 0; i < 18; ++i) {
    ASSERT_TRUE(heard[i]->WaitForEnd()) << i;
    EXPECT_EQ(heard[i]->tokens(), Alone(*models[i % 3].second, prompt(i), 20 + i)) << i;
  }
}

TEST_F(SchedulerAdapterTest, WhatOneReadIsNoPrefixForAnother) {
  const std::vector<int32_t> prompt = RandomTokens(100, TinyModel{}.vocab, 7);
  for (const ServedModel* const model : {static_cast<const ServedModel*>(nullptr), &one_, &two_}) {
    for (const int64_t own : {0, 99}) {
      const auto heard = Ask(model, prompt, 10);
      ASSERT_TRUE(heard->WaitForEnd());
      EXPECT_EQ(heard->report().own_tokens, own);
    }
  }
  // Nor while it is being written.
  const std::vector<int32_t> other = RandomTokens(100, TinyModel{}.vocab, 8);
  const auto writing = Ask(&one_, other, 300);
  ASSERT_TRUE(writing->WaitForTokens(1));
  const auto beside = Ask(&two_, other, 10);
  ASSERT_TRUE(beside->WaitForEnd());
  EXPECT_EQ(beside->report().own_tokens, 0);
  EXPECT_EQ(beside->tokens(), Alone(*merged_two_, other, 10));
}

}  // namespace
}  // namespace droidspeak
