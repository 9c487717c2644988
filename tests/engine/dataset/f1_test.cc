// SPDX-License-Identifier: Apache-2.0
#include "engine/dataset/f1.h"

#include <fstream>

#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace droidspeak {
namespace {

TEST(F1, EqualsLongBenchsMetric) {
  std::ifstream file(TEST_DATA "/f1.json");
  const nlohmann::json rows = nlohmann::json::parse(file);
  ASSERT_GT(rows.size(), 20U);
  for (const nlohmann::json& row : rows) {
    const std::string prediction = row["prediction"];
    EXPECT_EQ(NormalizeAnswer(prediction), row["normalized"].get<std::string>()) << prediction;
    EXPECT_NEAR(F1(prediction, row["answers"]), row["f1"].get<double>(), 1e-12) << prediction;
  }
}

TEST(F1, NoAnswersScoreZero) {
  EXPECT_EQ(F1("Paris", {}), 0);
}

TEST(ExactNumberMatch, LastNumbersAreComparedByValue) {
  EXPECT_EQ(ExactNumberMatch("so 3 + 4 = 7", {"#### 7"}), 1);
  EXPECT_EQ(ExactNumberMatch("It costs $1,234.50.", {"1234.5"}), 1);
  EXPECT_EQ(ExactNumberMatch("42.00", {"7", "042"}), 1);
  EXPECT_EQ(ExactNumberMatch("-5 degrees", {"-5"}), 1);
  EXPECT_EQ(ExactNumberMatch("0.0", {"0"}), 1);
}

TEST(ExactNumberMatch, OtherNumbersOrNoneDoNotMatch) {
  EXPECT_EQ(ExactNumberMatch("7 or 8", {"7"}), 0);
  EXPECT_EQ(ExactNumberMatch("5", {"-5"}), 0);
  EXPECT_EQ(ExactNumberMatch("seven", {"7"}), 0);
  EXPECT_EQ(ExactNumberMatch("", {""}), 0);
  EXPECT_EQ(ExactNumberMatch("1.5", {"15"}), 0);
  EXPECT_EQ(ExactNumberMatch("pages 3-5", {"5"}), 1);
}

}  // namespace
}  // namespace droidspeak
