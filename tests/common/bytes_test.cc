// SPDX-License-Identifier: Apache-2.0
#include "common/base/bytes.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace droidspeak {
namespace {

using ::testing::HasSubstr;

TEST(Bytes, SizesAreReadInAllUnits) {
  EXPECT_EQ(ParseBytes("0").value(), 0);
  EXPECT_EQ(ParseBytes("4096").value(), 4096);
  EXPECT_EQ(ParseBytes("7B").value(), 7);
  EXPECT_EQ(ParseBytes("4GiB").value(), uint64_t{4} << 30);
  EXPECT_EQ(ParseBytes("4 gib").value(), uint64_t{4} << 30);
  EXPECT_EQ(ParseBytes("1.5MiB").value(), 3 << 19);
  EXPECT_EQ(ParseBytes("100GB").value(), uint64_t{100'000'000'000});
  EXPECT_EQ(ParseBytes("2TiB").value(), uint64_t{2} << 40);
  EXPECT_EQ(ParseBytes("3kB").value(), 3000);
}

TEST(Bytes, OtherTextIsRefusedNamingIt) {
  for (const char* text : {"", "GiB", "-1", "4XiB", "1e3", "4GiB.", "1.2.3", ".", "9999999TiB", "nan", " 4"}) {
    EXPECT_THAT(ParseBytes(text).status().message(), HasSubstr(text)) << text;
    EXPECT_FALSE(ParseBytes(text).ok()) << text;
  }
  EXPECT_THAT(ParseBytes("1.5B").status().message(), HasSubstr("not a whole number"));
}

TEST(Bytes, SizesAreWrittenWithOneDigitAfterThePoint) {
  EXPECT_EQ(FormatBytes(512), "512 B");
  EXPECT_EQ(FormatBytes(1536), "1.5 KiB");
  EXPECT_EQ(FormatBytes(uint64_t{4} << 30), "4.0 GiB");
  EXPECT_EQ(FormatBytes(uint64_t{3} << 50), "3072.0 TiB");
}

}  // namespace
}  // namespace droidspeak
