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
  const Interval often = NextInterval(0, 2'000);
  const Interval seldom = NextInterval(0, 200'000);
  EXPECT_GT(Worth(0, often, 10), Worth(0, seldom, 10));
  EXPECT_EQ(Worth(0, seldom, 10), Worth(0, seldom, 100'000)) << "not late yet";
  EXPECT_LT(Worth(0, often, 1'000'000), Worth(0, seldom, 10)) << "long overdue";
}

TEST(WorthTest, WhatWasUsedOnceGoesBeforeWhatCameAgainAtThatAge) {
  EXPECT_LT(Worth(0, 0, 60'000), Worth(0, NextInterval(0, 60'000), 60'000));
  EXPECT_GT(Worth(0, 0, 1'000), Worth(0, NextInterval(0, 60'000), 60'000)) << "it is young";
}

TEST(WorthTest, TwiceTheBenefitIsWorthTwiceTheWait) {
  EXPECT_NEAR(Worth(1, NextInterval(0, 20'000), 0), Worth(0, NextInterval(0, 10'000), 0), 0.2);
}

TEST(IntervalTest, ApproachesWhatItSeesAndCoversAllTicks) {
  Interval interval = NextInterval(0, 1'000);
  for (int i = 0; i < 40; ++i) interval = NextInterval(interval, 64'000);
  EXPECT_NEAR(Log2Ticks(interval), std::log2(64'000), 0.5);
  EXPECT_GT(NextInterval(0, UINT32_MAX), NextInterval(0, UINT32_MAX / 4));
  EXPECT_GT(NextInterval(0, 0), 0) << "0 says that there is none";
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
