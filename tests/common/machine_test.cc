// SPDX-License-Identifier: Apache-2.0
#include "common/base/machine.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace droidspeak {
namespace {

using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;

TEST(Machine, DescriptionHasCoresMemoryAndKernel) {
  EXPECT_THAT(MachineDescription(), ContainsRegex(", [1-9][0-9]* cores, [0-9.]+ [GT]iB, "));
  EXPECT_THAT(MachineDescription(), HasSubstr("Linux "));
}

TEST(Machine, VersionsAndDateAreThere) {
  EXPECT_THAT(BuildVersions()["droidspeak"].get<std::string>(), MatchesRegex("[0-9]+\\.[0-9]+\\.[0-9]+"));
  EXPECT_THAT(DateNow(), MatchesRegex("20[0-9][0-9]-[01][0-9]-[0-3][0-9]T[0-9:]+Z"));
}

}  // namespace
}  // namespace droidspeak
