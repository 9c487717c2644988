// SPDX-License-Identifier: Apache-2.0
#include "engine/tokenizer/compare.h"

#include <unistd.h>

#include <fstream>
#include <functional>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace droidspeak {
namespace {

using nlohmann::json;

// The byte-level tokenizer after `change` to its JSON.
std::unique_ptr<Tokenizer> Changed(const std::function<void(json&)>& change) {
  static int count = 0;
  std::ifstream file(TEST_DATA "/byte_level/tokenizer.json");
  json object = json::parse(file);
  change(object);
  const std::filesystem::path directory =
      std::filesystem::temp_directory_path() / absl::StrCat("compare_", getpid(), "_", count++);
  std::filesystem::create_directories(directory);
  std::ofstream(directory / "tokenizer.json") << object;
  absl::StatusOr<std::unique_ptr<Tokenizer>> tokenizer = Tokenizer::Load(directory);
  std::filesystem::remove_all(directory);
  return *std::move(tokenizer);
}

std::unique_ptr<Tokenizer> Same() {
  return Changed([](json&) {});
}

// With one more token at the end.
std::unique_ptr<Tokenizer> Larger(int32_t size) {
  return Changed([&](json& object) {
    json token = object["added_tokens"].back();
    token["id"] = size;
    token["content"] = "<|tool|>";
    object["added_tokens"].push_back(token);
  });
}

TEST(CompareTokenizers, SameVocabulariesHaveAllInCommon) {
  const auto sender = Same();
  const TokenizerComparison result = CompareTokenizers(*sender, *Same()).value();
  EXPECT_EQ(result.common_size, sender->vocabulary_size());
  EXPECT_EQ(result.receiver_size, sender->vocabulary_size());
}

TEST(CompareTokenizers, LargerReceiverHasTheSendersSizeInCommon) {
  const auto sender = Same();
  const auto receiver = Larger(sender->vocabulary_size());
  const TokenizerComparison result = CompareTokenizers(*sender, *receiver).value();
  EXPECT_EQ(result.receiver_size, result.sender_size + 1);
  EXPECT_EQ(result.common_size, result.sender_size);
}

TEST(CompareTokenizers, LargerSenderHasTheReceiversSizeInCommon) {
  const auto receiver = Same();
  const TokenizerComparison result = CompareTokenizers(*Larger(receiver->vocabulary_size()), *receiver).value();
  EXPECT_EQ(result.sender_size, result.receiver_size + 1);
  EXPECT_EQ(result.common_size, result.receiver_size);
}

TEST(CompareTokenizers, FirstDifferentIdIsNamedWithBothStrings) {
  const auto receiver = Changed([](json& object) {
    for (json& token : object["added_tokens"]) {
      if (token["content"] == "</s>") token["content"] = "<|eos|>";
    }
    json& vocabulary = object["model"]["vocab"];
    vocabulary.erase("</s>");
    vocabulary["<|eos|>"] = 1;
  });
  const absl::Status status = CompareTokenizers(*Same(), *receiver).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(status.message(),
            "the tokenizers of sender and receiver differ: token id 1 is \"</s>\" to the sender and \"<|eos|>\" to the "
            "receiver; expected the same string");
}

TEST(CompareTokenizers, OtherTokenizerIsRefused) {
  const auto other = Tokenizer::Load(TEST_DATA "/byte_fallback").value();
  EXPECT_THAT(std::string(CompareTokenizers(*Same(), *other).status().message()),
              testing::HasSubstr("token id 0 is \"<s>\" to the sender and \"<unk>\" to the receiver"));
}

TEST(LeadingCommonTokens, CountUpToTheFirstIdBeyond) {
  EXPECT_EQ(LeadingCommonTokens({1, 2, 9, 3}, 9), 2);
  EXPECT_EQ(LeadingCommonTokens({1, 2, 3}, 9), 3);
  EXPECT_EQ(LeadingCommonTokens({9}, 9), 0);
  EXPECT_EQ(LeadingCommonTokens({}, 9), 0);
}

}  // namespace
}  // namespace droidspeak
