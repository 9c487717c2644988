// SPDX-License-Identifier: Apache-2.0
// RoPE that depends on how long a sequence gets: what one regime leaves on the servers is nothing to another.
#include "gtest/gtest.h"
#include "tests/engine/prefill/prefill_server_fixture.h"

namespace droidspeak {
namespace {

constexpr int64_t kLonger = kLength + 1;

class RopeServerTest : public PrefillServerTest {
 protected:
  // The receiver's answer to the context and `length` - kContext more tokens, from what the sender has left.
  PrefillResult AnswerOf(const Model& receiver, const Model& sender, int64_t length) {
    const std::vector<int32_t> tokens = RandomTokens(length, Base().vocab, 21);
    ServerSource source(*cache_, Options(tokens, kContext, nullptr, &sender));
    return Answer(receiver, tokens, Plan::ParseTriple("0,1,3", Base().layers).value(), source);
  }
};

TEST_F(RopeServerTest, LongropesRegimesAreApart) {
  const auto sender = LoadTinyModel({.longrope = kLength}), receiver = LoadTinyModel({.seed = 2, .longrope = 40});
  const Plan plan = Plan::ParseTriple("0,1,3", Base().layers).value();
  for (const int64_t filled : {kLength, kLonger}) {
    const std::vector<int32_t> tokens = RandomTokens(filled, Base().vocab, 21);
    Fill(*sender, tokens, kContext, AllLayers(), /*reach=*/filled);
    const PrefillResult result = AnswerOf(*receiver, *sender, filled);
    EXPECT_EQ(result.context_tokens, kContext) << filled;
    EXPECT_LE(MaxDifference(result.logits, Expected(*receiver, *sender, tokens, plan, kContext)), kTolerance) << filled;
    if (filled == kLength) {
      EXPECT_EQ(AnswerOf(*receiver, *sender, kLonger).context_tokens, 0) << "of the other regime";
    }
  }
  EXPECT_NE(Open(*sender, kLength).bytes, Open(*sender, kLonger).bytes);
  EXPECT_EQ(Open(*sender, 1).bytes, Open(*sender, kLength).bytes);
}

// A prompt within the original length whose answer may go beyond: all of it is of the long regime from the first token
// on, and is stored as that.
TEST_F(RopeServerTest, ARequestHasOneRegimeFromItsFirstToken) {
  const auto model = LoadTinyModel({.longrope = kLength});
  const std::vector<int32_t> prompt = RandomTokens(kLength - 6, Base().vocab, 22);
  constexpr int64_t kAnswer = 20, kReach = kLength - 6 + kAnswer - 1;
  auto store = StoreBack::Start(*cache_, model->config(), prompt,
                                {.ns = Open(*model, kReach), .kv_layers = AllLayers(), .e_layers = AllLayers()})
                   .value();
  TestSequence sequence(*model, kReach + 1);
  const PrefillResult prefill = MustPrefill(*model, sequence,
                                            {.tokens = prompt,
                                             .run = sequence.run,
                                             .reach = kReach,
                                             .plan = Plan::Full(Base().layers),
                                             .capture = store.get()});
  const std::vector<int32_t> answer = DecodeStoring(*model, sequence, prompt, prefill, kAnswer, kReach, *store);
  ASSERT_EQ(answer.size(), static_cast<size_t>(kAnswer));
  std::vector<int32_t> read = prompt;
  read.insert(read.end(), answer.begin(), answer.end() - 1);
  const at::Tensor expected = FullLogits(*model, read);
  for (int64_t i = 0; i < kAnswer; ++i) {
    EXPECT_EQ(answer[i], expected[kLength - 7 + i].argmax().item<int64_t>()) << i;
  }
  // And what was stored is what a full prefill of that length has.
  ServerSource own(*cache_, Options(read, 4 * kBlock, model.get(), nullptr));
  const PrefillResult warm = Answer(*model, read, Plan::Full(Base().layers), own, 4 * kBlock);
  EXPECT_EQ(warm.own_tokens, 4 * kBlock);
  EXPECT_LE(MaxDifference(warm.logits, expected.slice(0, 4 * kBlock)), kTolerance);
}

TEST_F(RopeServerTest, WhatDependsOnTheVeryLengthIsNotCached) {
  const auto model = LoadTinyModel({.max_positions = kLength, .dynamic = true});
  const ModelNamespaces namespaces = OpenAll(*model);
  EXPECT_NE(namespaces.For(kLength), nullptr);
  EXPECT_EQ(namespaces.For(kLonger), nullptr);
  const std::vector<int32_t> tokens = RandomTokens(kLonger, Base().vocab, 21);
  const FillRequest request{.tokens = absl::MakeConstSpan(tokens).subspan(0, kContext), .reach = kLonger};
  EXPECT_EQ(FillContext(*cache_, *model, namespaces, request).value(), 0);
  Fill(*model, tokens, kContext, AllLayers(), /*reach=*/kLength);
  EXPECT_EQ(AnswerOf(*model, *model, kLength).context_tokens, kContext);
}

}  // namespace
}  // namespace droidspeak
