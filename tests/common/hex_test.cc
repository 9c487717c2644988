// SPDX-License-Identifier: Apache-2.0
#include "common/base/hex.h"

#include "gtest/gtest.h"

namespace droidspeak {
namespace {

TEST(Hex, BytesAreWrittenAndReadBack) {
  const std::string bytes("\x00\xff\x10 a", 5);
  EXPECT_EQ(ToHex(bytes), "00ff102061");
  EXPECT_EQ(FromHex("00ff102061").value(), bytes);
  EXPECT_EQ(FromHex("00FF102061").value(), bytes);
  EXPECT_EQ(FromHex("").value(), "");
}

TEST(Hex, OddLengthsAndOtherCharactersAreRefused) {
  EXPECT_FALSE(FromHex("0").ok());
  EXPECT_FALSE(FromHex("0g").ok());
  EXPECT_FALSE(FromHex("0x10").ok());
  EXPECT_FALSE(FromHex("\xc3\xa9").ok());
}

}  // namespace
}  // namespace droidspeak
