// SPDX-License-Identifier: Apache-2.0
#include "engine/tokenizer/stop.h"

#include <unistd.h>

#include <fstream>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace droidspeak {
namespace {

class EosTest : public testing::Test {
 protected:
  EosTest() {
    const auto* test = testing::UnitTest::GetInstance()->current_test_info();
    directory_ = std::filesystem::temp_directory_path() / absl::StrCat("eos_", test->name(), "_", getpid());
    std::filesystem::create_directories(directory_);
  }
  ~EosTest() override { std::filesystem::remove_all(directory_); }

  void Write(const char* name, const std::string& json) { std::ofstream(directory_ / name) << json; }

  std::filesystem::path directory_;
};

TEST_F(EosTest, GenerationConfigWinsOverConfig) {
  Write("config.json", R"({"eos_token_id":2})");
  Write("generation_config.json", R"({"eos_token_id":[128001,128009]})");
  EXPECT_EQ(ReadEosIds(directory_).value(), (std::vector<int32_t>{128001, 128009}));
}

TEST_F(EosTest, ConfigCountsWhereGenerationConfigIsSilent) {
  Write("config.json", R"({"eos_token_id":2})");
  Write("generation_config.json", R"({"eos_token_id":null})");
  EXPECT_EQ(ReadEosIds(directory_).value(), std::vector<int32_t>{2});
}

TEST_F(EosTest, NoneWithoutFiles) {
  EXPECT_TRUE(ReadEosIds(directory_).value().empty());
}

TEST_F(EosTest, WrongValuesNameFileAndField) {
  for (const char* value : {"\"2\"", "-1", "[1,\"2\"]", "1.5", "4294967296", "{}"}) {
    Write("config.json", absl::StrCat("{\"eos_token_id\":", value, "}"));
    EXPECT_THAT(std::string(ReadEosIds(directory_).status().message()),
                testing::HasSubstr(absl::StrCat((directory_ / "config.json").string(), ": eos_token_id: expected")));
  }
}

TEST_F(EosTest, TruncatedFileIsNamed) {
  Write("generation_config.json", R"({"eos_token_id")");
  EXPECT_THAT(std::string(ReadEosIds(directory_).status().message()), testing::HasSubstr("generation_config.json"));
}

TEST(StopMatcher, TextIsCutBeforeTheEarliestStop) {
  StopMatcher matcher({"\n", "."});
  EXPECT_EQ(matcher.Push("Paris. Or\nnot"), "Paris");
  EXPECT_TRUE(matcher.stopped());
  EXPECT_EQ(matcher.Push("more"), "");
  EXPECT_EQ(matcher.Finish(), "");
}

TEST(StopMatcher, StopAcrossPiecesIsFound) {
  StopMatcher matcher({"</end>"});
  EXPECT_EQ(matcher.Push("text <"), "text ");
  EXPECT_EQ(matcher.Push("/en"), "");
  EXPECT_EQ(matcher.Push("d> rest"), "");
  EXPECT_TRUE(matcher.stopped());
}

TEST(StopMatcher, FalseBeginningIsReleased) {
  StopMatcher matcher({"aab"});
  EXPECT_EQ(matcher.Push("xaa"), "x");
  EXPECT_EQ(matcher.Push("a"), "a");  // "aa" may still become "aab"
  EXPECT_EQ(matcher.Push("c"), "aac");
  EXPECT_FALSE(matcher.stopped());
}

TEST(StopMatcher, HeldTextComesOutAtTheEnd) {
  StopMatcher matcher({"stop"});
  EXPECT_EQ(matcher.Push("a sto"), "a ");
  EXPECT_EQ(matcher.Finish(), "sto");
}

TEST(StopMatcher, WithoutStopsEverythingPasses) {
  StopMatcher matcher({"", ""});
  EXPECT_EQ(matcher.Push("text"), "text");
  EXPECT_FALSE(matcher.stopped());
}

}  // namespace
}  // namespace droidspeak
