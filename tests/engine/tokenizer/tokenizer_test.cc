// SPDX-License-Identifier: Apache-2.0
#include "engine/tokenizer/tokenizer.h"

#include <unistd.h>

#include <fstream>
#include <iterator>
#include <thread>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace droidspeak {
namespace {

using testing::HasSubstr;

class GoldenTest : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    const std::filesystem::path directory = std::filesystem::path(TEST_DATA) / GetParam();
    absl::StatusOr<std::unique_ptr<Tokenizer>> loaded = Tokenizer::Load(directory);
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    tokenizer_ = *std::move(loaded);
    std::ifstream file(directory / "goldens.json");
    goldens_ = nlohmann::json::parse(file);
    ASSERT_GT(goldens_["texts"].size(), 20U);
  }

  std::unique_ptr<Tokenizer> tokenizer_;
  nlohmann::json goldens_;
};

TEST_P(GoldenTest, IdsEqualHuggingFaces) {
  for (const nlohmann::json& row : goldens_["texts"]) {
    const std::string text = row["text"];
    EXPECT_EQ(tokenizer_->Encode(text, true).value(), row["ids"].get<std::vector<int32_t>>()) << text;
    EXPECT_EQ(tokenizer_->Encode(text, false).value(), row["ids_plain"].get<std::vector<int32_t>>()) << text;
  }
}

TEST_P(GoldenTest, TextsEqualHuggingFaces) {
  for (const nlohmann::json& row : goldens_["texts"]) {
    const std::vector<int32_t> ids = row["ids"];
    EXPECT_EQ(tokenizer_->Decode(ids, false).value(), row["decoded"].get<std::string>());
    EXPECT_EQ(tokenizer_->Decode(ids, true).value(), row["decoded_skip"].get<std::string>());
  }
}

TEST_P(GoldenTest, VocabularyEqualsHuggingFaces) {
  EXPECT_EQ(tokenizer_->vocabulary_size(), goldens_["vocabulary_size"].get<int32_t>());
  for (size_t id = 0; id < goldens_["tokens"].size(); ++id) {
    EXPECT_EQ(tokenizer_->TokenString(static_cast<int32_t>(id)), goldens_["tokens"][id].get<std::string>());
  }
}

TEST_P(GoldenTest, IdsBeyondTheVocabularyHaveNoString) {
  EXPECT_EQ(tokenizer_->TokenString(tokenizer_->vocabulary_size()), std::nullopt);
  EXPECT_EQ(tokenizer_->TokenString(-1), std::nullopt);
  EXPECT_NE(tokenizer_->TokenString(tokenizer_->vocabulary_size() - 1), std::nullopt);
}

TEST_P(GoldenTest, NegativeIdIsRefused) {
  EXPECT_THAT(std::string(tokenizer_->Decode({5, -3}, true).status().message()), HasSubstr("token 1 is -3"));
}

TEST_P(GoldenTest, TextThatIsNotUtf8IsRefused) {
  EXPECT_THAT(std::string(tokenizer_->Encode("ab\xFF", true).status().message()), HasSubstr("not UTF-8"));
}

TEST_P(GoldenTest, ThreadsShareATokenizer) {
  const std::string text = goldens_["texts"][9]["text"];
  const std::vector<int32_t> ids = goldens_["texts"][9]["ids"];
  std::vector<std::thread> threads;
  std::array<bool, 4> same = {};
  threads.reserve(same.size());
  for (bool& good : same) {
    threads.emplace_back([&] {
      good = true;
      for (int i = 0; i < 100; ++i) good = good && tokenizer_->Encode(text, true).value() == ids;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(same, testing::Each(true));
}

INSTANTIATE_TEST_SUITE_P(Tokenizers, GoldenTest, testing::Values("byte_level", "byte_fallback"),
                         [](const auto& info) { return std::string(info.param); });

class BadTokenizerTest : public testing::Test {
 protected:
  BadTokenizerTest() {
    const auto* test = testing::UnitTest::GetInstance()->current_test_info();
    directory_ = std::filesystem::temp_directory_path() / absl::StrCat("tokenizer_", test->name(), "_", getpid());
    std::filesystem::create_directories(directory_);
  }
  ~BadTokenizerTest() override { std::filesystem::remove_all(directory_); }

  absl::Status LoadWith(const std::string& json) {
    std::ofstream(directory_ / "tokenizer.json", std::ios::binary) << json;
    return Tokenizer::Load(directory_).status();
  }

  std::filesystem::path directory_;
};

TEST_F(BadTokenizerTest, MissingFileIsNamed) {
  EXPECT_FALSE(Tokenizer::Exists(directory_));
  const absl::Status status = Tokenizer::Load(directory_).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()), HasSubstr((directory_ / "tokenizer.json").string()));
}

TEST_F(BadTokenizerTest, TruncatedFileIsNamed) {
  std::ifstream whole(TEST_DATA "/byte_level/tokenizer.json", std::ios::binary);
  std::string json((std::istreambuf_iterator<char>(whole)), std::istreambuf_iterator<char>());
  ASSERT_GT(json.size(), 1000U);
  const absl::Status status = LoadWith(json.substr(0, json.size() / 2));
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr((directory_ / "tokenizer.json").string()));
}

TEST_F(BadTokenizerTest, OtherJsonIsRefused) {
  for (const char* json :
       {"", "[]", "{}", "{\"model\":{\"type\":\"BPE\"}}", "{\"model\":{\"type\":\"Nonsense\"}}", "\xFF"}) {
    EXPECT_EQ(LoadWith(json).code(), absl::StatusCode::kInvalidArgument) << json;
  }
}

}  // namespace
}  // namespace droidspeak
