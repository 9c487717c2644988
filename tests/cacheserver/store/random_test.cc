// SPDX-License-Identifier: Apache-2.0
// Random operations against a model in memory: 100,000 in CI, 1,000,000 at night.
#include <iostream>

#include "gtest/gtest.h"
#include "tests/cacheserver/store/random_driver.h"
#include "tests/support/count.h"

namespace droidspeak::testing {
namespace {

class RandomTest : public ::testing::TestWithParam<StoreConditions> {};

TEST_P(RandomTest, TheStoreDoesWhatItsModelDoes) {
  const int operations = Count(GetParam().operations, 10 * GetParam().operations);
  const uint64_t seed = Seed();
  RandomDriver driver(GetParam(), seed);
  for (int i = 0; i < operations; ++i) {
    SCOPED_TRACE(::testing::Message() << "operation " << i << " of seed " << seed);
    driver.Step(i);
    if (HasFailure()) return;
  }
  std::cout << driver.fills() << " fills, " << driver.hits() << " hits, " << driver.model().extents()
            << " extents there, " << driver.model().evicted() << " seen to have been evicted\n";
  EXPECT_GT(driver.hits(), operations / 50u);  // in little memory most is evicted before it is asked for
  EXPECT_GT(driver.fills(), operations / 20u);
  EXPECT_EQ(driver.model().evicted() > 0, GetParam().evicts);
  driver.Finish();
}

INSTANTIATE_TEST_SUITE_P(
    Conditions, RandomTest,
    ::testing::Values(StoreConditions{"Memory", 40'000, 192 << 20, 0, false, false},
                      StoreConditions{"LittleMemory", 30'000, 32 << 20, 0, true, true},
                      StoreConditions{"LittleMemoryAndDisk", 20'000, 32 << 20, 1 << 30, true, false},
                      StoreConditions{"LittleMemoryAndLittleDisk", 10'000, 32 << 20, 40 << 20, true, true}),
    [](const auto& tested) { return tested.param.name; });

}  // namespace
}  // namespace droidspeak::testing
