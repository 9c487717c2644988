// SPDX-License-Identifier: Apache-2.0
#include "common/key/layout.h"

#include <string>

#include "absl/strings/str_replace.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace droidspeak {
namespace {

using ::testing::HasSubstr;

const std::string kText =
    "v1;layers=32;kv_heads=8;head_dim=128;hidden=4096;block_tokens=256;kv=bf16;e=fp32;key=pre-rope";

std::string ErrorOf(const std::string& text) {
  return std::string(Layout::Parse(text).status().message());
}

std::string ErrorWith(const std::string& from, const std::string& to) {
  return ErrorOf(absl::StrReplaceAll(kText, {{from, to}}));
}

TEST(Layout, IsReadAndWrittenBack) {
  const Layout layout = Layout::Parse(kText).value();
  EXPECT_EQ(layout.layers, 32);
  EXPECT_EQ(layout.kv_heads, 8);
  EXPECT_EQ(layout.head_dim, 128);
  EXPECT_EQ(layout.hidden, 4096);
  EXPECT_EQ(layout.block_tokens, 256);
  EXPECT_EQ(layout.kv, Dtype::kBf16);
  EXPECT_EQ(layout.e, Dtype::kFp32);
  EXPECT_EQ(layout.regime, Regime::kNone);
  EXPECT_EQ(layout.ToString(), kText);
}

TEST(Layout, RegimesAreReadAndWrittenBack) {
  for (const std::string regime : {"short", "long"}) {
    const std::string text = kText + ";regime=" + regime;
    EXPECT_EQ(Layout::Parse(text).value().ToString(), text);
  }
  EXPECT_NE(Layout::Parse(kText + ";regime=short").value(), Layout::Parse(kText + ";regime=long").value());
}

TEST(Layout, SizesFollowFromShapesAndTypes) {
  const Layout layout = Layout::Parse(kText).value();
  EXPECT_EQ(layout.k_bytes(), 8 * 256 * 128 * 2);
  EXPECT_EQ(layout.extent_bytes(Kind::kKv), 2 * 8 * 256 * 128 * 2);
  EXPECT_EQ(layout.extent_bytes(Kind::kE), 256 * 4096 * 4);
}

TEST(Layout, UnknownMissingAndMisplacedFieldsAreRefusedByName) {
  EXPECT_THAT(ErrorOf(kText + ";codec=fp8"), HasSubstr("'codec=fp8' where 'regime=' was expected"));
  EXPECT_THAT(ErrorOf(kText + ";regime=long;x=1"), HasSubstr("follows 'regime'"));
  EXPECT_THAT(ErrorWith(";hidden=4096", ""), HasSubstr("where 'hidden=' was expected"));
  EXPECT_THAT(ErrorWith("layers=32;kv_heads=8", "kv_heads=8;layers=32"), HasSubstr("'kv_heads=8' where 'layers='"));
  EXPECT_THAT(ErrorWith(";key=pre-rope", ""), HasSubstr("ends where field 'key'"));
  EXPECT_THAT(ErrorWith("layers=32", "layers"), HasSubstr("'layers' where 'layers='"));
}

TEST(Layout, BadValuesAreRefusedByName) {
  EXPECT_THAT(ErrorWith("v1", "v2"), HasSubstr("begins with 'v2', expected 'v1'"));
  EXPECT_THAT(ErrorOf(""), HasSubstr("begins with ''"));
  EXPECT_THAT(ErrorWith("layers=32", "layers=0"), HasSubstr("'layers' is 0, expected 1 to 256"));
  EXPECT_THAT(ErrorWith("layers=32", "layers=257"), HasSubstr("'layers' is 257"));
  EXPECT_THAT(ErrorWith("kv_heads=8", "kv_heads=99999999999"), HasSubstr("'kv_heads' is '99999999999'"));
  EXPECT_THAT(ErrorWith("head_dim=128", "head_dim=-1"), HasSubstr("'head_dim' is '-1'"));
  EXPECT_THAT(ErrorWith("kv=bf16", "kv=fp16"), HasSubstr("'kv': type 'fp16' is unknown, expected fp32 or bf16"));
  EXPECT_THAT(ErrorWith("pre-rope", "post-rope"), HasSubstr("'key' is 'post-rope', expected pre-rope"));
  EXPECT_THAT(ErrorOf(kText + ";regime=dynamic"), HasSubstr("'regime' is 'dynamic', expected short or long"));
}

TEST(Layout, OneSpellingOnly) {
  for (const std::string value : {"08", "+8", " 8", "8 ", "0x8", "8.0", ""}) {
    EXPECT_THAT(ErrorWith("kv_heads=8", "kv_heads=" + value), HasSubstr("'kv_heads'")) << value;
  }
  EXPECT_FALSE(Layout::Parse(kText + ";").ok());
  EXPECT_FALSE(Layout::Parse(kText + "\n").ok());
}

TEST(Layout, ExtentsBeyondTheLimitAreRefused) {
  EXPECT_THAT(
      ErrorOf("v1;layers=1;kv_heads=1024;head_dim=1024;hidden=64;block_tokens=4096;kv=fp32;e=fp32;key=pre-rope"),
      HasSubstr("an extent has"));
}

}  // namespace
}  // namespace droidspeak
