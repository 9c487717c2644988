// SPDX-License-Identifier: Apache-2.0
#include "cacheserver/store/read_failures.h"

#include "gtest/gtest.h"

namespace droidspeak {
namespace {

using Verdict = ReadFailures::Verdict;

constexpr ExtentSelector kKv0{Kind::kKv, 0}, kKv1{Kind::kKv, 1};
const BlockKey kBlock{1, {}};

TEST(ReadFailuresTest, AnExtentIsLostWhenItFailsForAMinute) {
  ReadFailures failures;
  EXPECT_EQ(failures.Note(kBlock, kKv0, absl::Seconds(100)), Verdict::kNew);
  EXPECT_EQ(failures.Note(kBlock, kKv0, absl::Seconds(159)), Verdict::kAgain);
  EXPECT_EQ(failures.Note(kBlock, kKv1, absl::Seconds(160)), Verdict::kNew);
  EXPECT_EQ(failures.Note(kBlock, kKv0, absl::Seconds(160)), Verdict::kLost);
  EXPECT_EQ(failures.Note(kBlock, kKv0, absl::Seconds(161)), Verdict::kNew);
}

TEST(ReadFailuresTest, AReadThatSucceedsIsANewBeginning) {
  ReadFailures failures;
  failures.Forget(kBlock, kKv0);
  EXPECT_EQ(failures.Note(kBlock, kKv0, absl::Seconds(100)), Verdict::kNew);
  failures.Forget(kBlock, kKv0);
  EXPECT_EQ(failures.Note(kBlock, kKv0, absl::Seconds(200)), Verdict::kNew);
}

}  // namespace
}  // namespace droidspeak
