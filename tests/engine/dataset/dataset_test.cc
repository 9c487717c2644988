// SPDX-License-Identifier: Apache-2.0
#include "engine/dataset/dataset.h"

#include <unistd.h>

#include <fstream>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace droidspeak {
namespace {

using testing::HasSubstr;

constexpr char kGood[] =
    R"({"input":"Who?","context":"A text.","answers":["Ada","Ada L."],"length":2,"dataset":"d","language":"en","all_classes":null,"_id":"q1"})";

class DatasetTest : public testing::Test {
 protected:
  DatasetTest() {
    const auto* test = testing::UnitTest::GetInstance()->current_test_info();
    path_ = std::filesystem::temp_directory_path() / absl::StrCat("dataset_", test->name(), "_", getpid(), ".jsonl");
  }
  ~DatasetTest() override { std::filesystem::remove(path_); }

  void Write(const std::string& text) { std::ofstream(path_, std::ios::binary) << text; }
  std::string Error(const DatasetLimits& limits = {}) {
    return std::string(ReadDataset(path_, 0, limits).status().message());
  }

  std::filesystem::path path_;
};

TEST_F(DatasetTest, AllFieldsAreRead) {
  Write(absl::StrCat(kGood, "\n"));
  const std::vector<Sample> samples = ReadDataset(path_).value();
  ASSERT_EQ(samples.size(), 1U);
  EXPECT_EQ(samples[0].id, "q1");
  EXPECT_EQ(samples[0].input, "Who?");
  EXPECT_EQ(samples[0].context, "A text.");
  EXPECT_EQ(samples[0].answers, (std::vector<std::string>{"Ada", "Ada L."}));
  EXPECT_EQ(samples[0].length, 2);
  EXPECT_EQ(samples[0].dataset, "d");
  EXPECT_EQ(samples[0].language, "en");
  EXPECT_TRUE(samples[0].all_classes.empty());
}

TEST_F(DatasetTest, OptionalFieldsMayBeMissingAndTheLineNumbersTheQuestion) {
  Write(absl::StrCat(kGood, "\r\n\n", R"({"input":"","context":"","answers":["x"],"all_classes":["a","b"],"more":1})"));
  const std::vector<Sample> samples = ReadDataset(path_).value();
  ASSERT_EQ(samples.size(), 2U);
  EXPECT_EQ(samples[1].id, "3");
  EXPECT_EQ(samples[1].all_classes, (std::vector<std::string>{"a", "b"}));
}

TEST_F(DatasetTest, LimitStopsBeforeLaterLinesAreLookedAt) {
  Write(absl::StrCat(kGood, "\n", kGood, "\nnonsense\n"));
  EXPECT_EQ(ReadDataset(path_, 2).value().size(), 2U);
  EXPECT_FALSE(ReadDataset(path_, 3).ok());
}

TEST_F(DatasetTest, TruncatedJsonNamesFileAndLine) {
  Write(absl::StrCat(kGood, "\n", std::string(kGood).substr(0, 40), "\n"));
  EXPECT_EQ(Error(), absl::StrCat(path_.string(), ":2: expected one whole JSON object in UTF-8"));
}

TEST_F(DatasetTest, TextThatIsNotUtf8IsRefused) {
  Write("{\"input\":\"\xFF\",\"context\":\"\",\"answers\":[\"x\"]}\n");
  EXPECT_THAT(Error(), HasSubstr(":1: expected one whole JSON object in UTF-8"));
}

TEST_F(DatasetTest, WrongTypesNameTheField) {
  const std::pair<const char*, const char*> cases[] = {
      {R"([1])", "expected a JSON object"},
      {R"({"input":"","answers":["x"]})", "context: expected a string"},
      {R"({"input":1,"context":"","answers":["x"]})", "input: expected a string"},
      {R"({"input":"","context":""})", "answers: expected a list of at least one string"},
      {R"({"input":"","context":"","answers":[]})", "answers: expected a list of at least one string"},
      {R"({"input":"","context":"","answers":"x"})", "answers: expected a list of at least one string"},
      {R"({"input":"","context":"","answers":[1]})", "answers: expected a list of at least one string"},
      {R"({"input":"","context":"","answers":["x"],"length":"9"})", "length: expected a whole number"},
      {R"({"input":"","context":"","answers":["x"],"_id":9})", "_id: expected a string"},
      {R"({"input":"","context":"","answers":["x"],"all_classes":{}})", "all_classes: expected null or a list"},
  };
  for (const auto& [line, message] : cases) {
    Write(line);
    EXPECT_THAT(Error(), HasSubstr(absl::StrCat(path_.string(), ":1: ", message)));
  }
}

TEST_F(DatasetTest, LongLineIsRefusedByNumber) {
  Write(absl::StrCat(kGood, "\n", std::string(5000, 'x'), "\n"));
  EXPECT_THAT(Error({.line_bytes = 1000}), HasSubstr(":2: expected a line of at most 1000 bytes"));
}

TEST_F(DatasetTest, LargeFileIsRefused) {
  Write(kGood);
  EXPECT_THAT(Error({.file_bytes = 10}), HasSubstr("expected at most 10"));
}

TEST_F(DatasetTest, EmptyFileIsRefused) {
  Write("\n\n");
  EXPECT_THAT(Error(), HasSubstr("expected at least one question"));
}

TEST_F(DatasetTest, MissingFileIsNamed) {
  const absl::Status status = ReadDataset("/nowhere/set.jsonl").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()), HasSubstr("/nowhere/set.jsonl"));
}

TEST_F(DatasetTest, FolderIsRefused) {
  EXPECT_FALSE(ReadDataset(std::filesystem::temp_directory_path()).ok());
}

}  // namespace
}  // namespace droidspeak
