// SPDX-License-Identifier: Apache-2.0
#include "cacheserver/tiers/eviction_policy.h"

#include <algorithm>
#include <cmath>
#include <random>
#include <set>
#include <string>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

namespace droidspeak {
namespace {

Digest Hash(int chain, int position) {
  return Sha256Of(absl::StrCat(chain, "/", position));
}

EvictionCandidate Candidate(int chain, int position, uint32_t last_use, bool held = false, Kind kind = Kind::kKv) {
  return {{0, Hash(chain, position)},
          Hash(chain, position - 1),
          static_cast<uint32_t>(position),
          kind,
          0,
          last_use,
          0,
          0,
          static_cast<float>(last_use),
          false,
          held};
}

std::vector<std::string> Names(const std::vector<EvictionCandidate>& victims) {
  std::vector<std::string> names;
  for (const EvictionCandidate& victim : victims) {
    for (int chain = 0; chain < 20; ++chain) {
      if (victim.block.hash == Hash(chain, static_cast<int>(victim.position))) {
        names.push_back(absl::StrCat(chain, "/", victim.position));
      }
    }
  }
  return names;
}

using Order = std::vector<std::string>;

TEST(WorthTest, WhatComesAgainSoonerIsWorthMore) {
  const Interval often = NextInterval(1, 2'000);
  const Interval seldom = NextInterval(1, 200'000);
  EXPECT_GT(Worth(0, often, 10), Worth(0, seldom, 10));
  EXPECT_EQ(Worth(0, seldom, 10), Worth(0, seldom, 100'000)) << "not late yet";
  EXPECT_LT(Worth(0, often, 1'000'000), Worth(0, seldom, 10)) << "long overdue";
}

TEST(WorthTest, WhatWasUsedOnceGoesBeforeWhatCameAgainAtThatAge) {
  for (Interval once : {0, 1, 5}) {
    EXPECT_LT(Worth(0, once, 60'000), Worth(0, NextInterval(1, 60'000), 60'000));
    EXPECT_GT(Worth(0, once, 1'000), Worth(0, NextInterval(1, 60'000), 60'000)) << "it is young";
  }
}

TEST(WorthTest, TwiceTheBenefitIsWorthTwiceTheWait) {
  EXPECT_NEAR(Worth(1, NextInterval(1, 20'000), 0), Worth(0, NextInterval(1, 10'000), 0), 0.2);
}

TEST(IntervalTest, ApproachesWhatItSeesAndCoversAllTicks) {
  Interval interval = NextInterval(1, 1'000);
  EXPECT_TRUE(IsKnown(interval));
  for (int i = 0; i < 40; ++i) interval = NextInterval(interval, 64'000);
  EXPECT_NEAR(Log2Ticks(interval), std::log2(64'000), 0.5);
  EXPECT_GT(NextInterval(1, UINT32_MAX), NextInterval(1, UINT32_MAX / 4));
}

TEST(IntervalTest, TheFirstReadAfterStoringSaysLittle) {
  const Interval read = NextInterval(0, 60'000);
  EXPECT_FALSE(IsKnown(read));
  EXPECT_TRUE(IsFirst(read));
  EXPECT_NEAR(Log2Ticks(read), std::log2(60'000), 0.3);
  EXPECT_LT(Worth(0, read, 100'000), Worth(0, NextInterval(1, 60'000), 100'000));
  EXPECT_GT(Worth(0, read, 100'000), Worth(0, 0, 100'000));
  EXPECT_TRUE(IsKnown(NextInterval(read, 60'000)));
  EXPECT_FALSE(IsKnown(NextInterval(0, UINT32_MAX)));
}

TEST(IntervalTest, PartsOfARequestAreOneUseAndManyCloseUsesAreNot) {
  Interval parts = NextInterval(0, 10);
  for (int i = 0; i < 8; ++i) parts = NextInterval(parts, 3);
  EXPECT_FALSE(IsKnown(parts));
  EXPECT_NEAR(Log2Ticks(NextInterval(parts, 60'000)), std::log2(60'000), 0.2);
  Interval often = 0;
  for (int i = 0; i < 100; ++i) often = NextInterval(often, 700);
  EXPECT_EQ(often, kLeastInterval);
  EXPECT_EQ(NextInterval(often, 3), often);
}

TEST(EvictionPolicyTest, ColdestChainGoesFirstFromItsTail) {
  EXPECT_EQ(Names(OrderVictims({Candidate(1, 0, 9), Candidate(2, 0, 5), Candidate(2, 1, 5), Candidate(1, 1, 9)})),
            (Order{"2/1", "2/0", "1/1", "1/0"}));
}

TEST(EvictionPolicyTest, HotTailKeepsItsChainHot) {
  EXPECT_EQ(Names(OrderVictims({Candidate(1, 0, 1), Candidate(1, 1, 9), Candidate(2, 0, 5)})),
            (Order{"2/0", "1/1", "1/0"}));
}

TEST(EvictionPolicyTest, HeldBlockKeepsWhatPrecedesItAndNotWhatFollows) {
  EXPECT_EQ(Names(OrderVictims({Candidate(1, 0, 1), Candidate(1, 1, 1, true), Candidate(1, 2, 1)})), Order{"1/2"});
}

TEST(EvictionPolicyTest, KindsGoAlone) {
  EXPECT_EQ(Names(OrderVictims({Candidate(1, 0, 1), Candidate(1, 1, 1, true, Kind::kE)})), Order{"1/0"});
}

TEST(EvictionPolicyTest, BranchesShareThePrefixOfTheHottest) {
  // Block 1 of chain 1 and block 1 of chain 2 both follow block 0 of chain 1.
  EvictionCandidate branch = Candidate(2, 1, 8);
  branch.parent = Hash(1, 0);
  EXPECT_EQ(Names(OrderVictims({Candidate(1, 0, 2), Candidate(1, 1, 2), branch, Candidate(3, 0, 5)})),
            (Order{"1/1", "3/0", "2/1", "1/0"}));
}

TEST(EvictionPolicyTest, NoBlockEverGoesBeforeOneThatFollowsIt) {
  std::mt19937_64 random(5);
  for (int round = 0; round < 50; ++round) {
    std::vector<EvictionCandidate> candidates;
    for (int chain = 0; chain < 10; ++chain) {
      for (int position = 0; position < 20; ++position) {
        candidates.push_back(Candidate(chain, position, random() % 30, random() % 40 == 0));
      }
    }
    std::shuffle(candidates.begin(), candidates.end(), random);
    std::set<Digest> present;
    for (const EvictionCandidate& candidate : candidates) present.insert(candidate.block.hash);
    for (const EvictionCandidate& victim : OrderVictims(candidates)) {
      for (const EvictionCandidate& other : candidates) {
        ASSERT_FALSE(other.parent == victim.block.hash && present.contains(other.block.hash));
      }
      present.erase(victim.block.hash);
    }
  }
}

}  // namespace
}  // namespace droidspeak
