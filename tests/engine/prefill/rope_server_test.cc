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
