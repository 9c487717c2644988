// SPDX-License-Identifier: Apache-2.0
#include "engine/tokenizer/stream_decoder.h"

#include <fstream>

#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace droidspeak {
namespace {

std::unique_ptr<Tokenizer> LoadData(const std::string& name) {
  return Tokenizer::Load(std::filesystem::path(TEST_DATA) / name).value();
}

// Ids of single bytes in the tokenizer with byte fallback.
std::vector<int32_t> Bytes(const Tokenizer& tokenizer, std::string_view bytes) {
  std::vector<int32_t> ids;
  for (const char byte : bytes) {
    const int32_t id = 3 + static_cast<uint8_t>(byte);  // after <unk>, <s>, </s>
    EXPECT_EQ(tokenizer.TokenString(id)->substr(0, 3), "<0x");
    ids.push_back(id);
  }
  return ids;
}

struct Pieces {
  std::string all;
  std::vector<std::string> each;
};

Pieces Stream(const Tokenizer& tokenizer, const std::vector<int32_t>& ids, bool skip = true) {
  StreamDecoder decoder(tokenizer, skip);
  Pieces pieces;
  for (const int32_t id : ids) {
    pieces.each.push_back(decoder.Push(id).value());
    pieces.all += pieces.each.back();
  }
  pieces.all += decoder.Finish().value();
  return pieces;
}

class StreamTest : public testing::TestWithParam<const char*> {};

TEST_P(StreamTest, PiecesJoinToTheWholeText) {
  const auto tokenizer = LoadData(GetParam());
  std::ifstream file(std::filesystem::path(TEST_DATA) / GetParam() / "goldens.json");
  const nlohmann::json goldens = nlohmann::json::parse(file);
  std::vector<int32_t> everything;
  for (const nlohmann::json& row : goldens["texts"]) {
    const std::vector<int32_t> ids = row["ids"];
    EXPECT_EQ(Stream(*tokenizer, ids, true).all, row["decoded_skip"].get<std::string>());
    EXPECT_EQ(Stream(*tokenizer, ids, false).all, row["decoded"].get<std::string>());
    everything.insert(everything.end(), ids.begin(), ids.end());
  }
  EXPECT_EQ(Stream(*tokenizer, everything).all, tokenizer->Decode(everything, true).value());
}

TEST_P(StreamTest, CharacterOfSeveralTokensComesWithItsLast) {
  const auto tokenizer = LoadData(GetParam());
  const std::vector<int32_t> ids = tokenizer->Encode("x😀y", false).value();
  size_t emoji = 0;
  for (const std::string& piece : Stream(*tokenizer, ids).each) {
    EXPECT_EQ(piece.find("\uFFFD"), std::string::npos);
    if (piece.find("😀") != std::string::npos) ++emoji;
  }
  EXPECT_EQ(emoji, 1U);
}

TEST_P(StreamTest, PiecesComeEarly) {
  const auto tokenizer = LoadData(GetParam());
  const Pieces pieces = Stream(*tokenizer, tokenizer->Encode("The quick brown fox", false).value());
  for (size_t i = 1; i < pieces.each.size(); ++i) EXPECT_NE(pieces.each[i], "") << i;
}

INSTANTIATE_TEST_SUITE_P(Tokenizers, StreamTest, testing::Values("byte_level", "byte_fallback"),
                         [](const auto& info) { return std::string(info.param); });

TEST(StreamDecoder, FinishedCharacterIsNotRepeatedWhenTheNextOneBegins) {
  const auto tokenizer = LoadData("byte_fallback");
  const Pieces pieces = Stream(*tokenizer, Bytes(*tokenizer, "😀😁"));
  EXPECT_EQ(pieces.each, (std::vector<std::string>{"", "", "", "😀", "", "", "", "😁"}));
}

TEST(StreamDecoder, RunThatTurnsOutInvalidEndsWithOneReplacementAByte) {
  const auto tokenizer = LoadData("byte_fallback");
  std::vector<int32_t> ids = Bytes(*tokenizer, "😀\xF0\x9F");
  EXPECT_EQ(Stream(*tokenizer, ids).all, "😀\uFFFD\uFFFD");
  const std::vector<int32_t> word = tokenizer->Encode("fox", false).value();
  ids.insert(ids.end(), word.begin(), word.end());
  EXPECT_EQ(Stream(*tokenizer, ids).all, "😀\uFFFD\uFFFD fox");
}

TEST(StreamDecoder, UnfinishedCharacterComesOutAtTheEnd) {
  const auto tokenizer = LoadData("byte_fallback");
  const Pieces pieces = Stream(*tokenizer, Bytes(*tokenizer, "\xF0\x9F\x98"));
  EXPECT_EQ(pieces.each, (std::vector<std::string>{"", "", ""}));
  EXPECT_EQ(pieces.all, "\uFFFD\uFFFD\uFFFD");
}

TEST(StreamDecoder, EndlessGarbageIsNotHeldForEver) {
  const auto tokenizer = LoadData("byte_fallback");
  const std::vector<int32_t> ids(1000, Bytes(*tokenizer, "\x80")[0]);
  const Pieces pieces = Stream(*tokenizer, ids);
  EXPECT_NE(pieces.each[63], "");
  EXPECT_EQ(pieces.all.size(), 3000U);
}

TEST(StreamDecoder, TokensWithoutTextAreNotHeldForEver) {
  const auto tokenizer = LoadData("byte_fallback");
  const std::vector<int32_t> special = tokenizer->Encode("", true).value();
  ASSERT_FALSE(special.empty());
  const std::vector<int32_t> word = tokenizer->Encode("fox", false).value(),
                             next = tokenizer->Encode("a dog", false).value();
  for (const size_t before : {size_t{0}, word.size()}) {
    StreamDecoder few(*tokenizer, true), many(*tokenizer, true);
    std::string text_after_few, text_after_many;
    const auto push = [](StreamDecoder& decoder, int32_t id, std::string& text) { text += decoder.Push(id).value(); };
    for (size_t i = 0; i < before; ++i) {
      push(few, word[i], text_after_few);
      push(many, word[i], text_after_many);
    }
    push(few, special[0], text_after_few);
    for (int i = 0; i < 50'000; ++i) push(many, special[0], text_after_many);  // hours, if they were held
    for (const int32_t id : next) {
      push(few, id, text_after_few);
      push(many, id, text_after_many);
    }
    EXPECT_EQ(text_after_many + many.Finish().value(), text_after_few + few.Finish().value());
  }
}

TEST(StreamDecoder, NegativeIdIsRefused) {
  const auto tokenizer = LoadData("byte_level");
  EXPECT_FALSE(StreamDecoder(*tokenizer, true).Push(-1).ok());
}

}  // namespace
}  // namespace droidspeak
