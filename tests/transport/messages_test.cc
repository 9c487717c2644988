// SPDX-License-Identifier: Apache-2.0
#include "common/transport/messages.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/transport/transport.h"
#include "common/transport/wire.h"
#include "tests/support/count.h"
#include "tests/transport/random_messages.h"

namespace droidspeak::wire {
namespace {

constexpr size_t kTypes = std::variant_size_v<Message>;

// A decoded message must encode to the very bytes it came from: then nothing in them went unread or was made up.
// Returns whether they decoded.
bool DecodesToItself(const std::vector<std::byte>& bytes) {
  const auto message = Decode(bytes);
  if (!message.ok()) return false;
  EXPECT_EQ(Encode(*message), bytes) << "type " << message->index() + 1;
  return true;
}

TEST(MessagesTest, EveryTypeRoundTrips) {
  std::mt19937_64 random(1);
  for (size_t index = 0; index < kTypes; ++index) {
    for (int i = 0; i < 200; ++i) {
      const Message message = RandomMessage(random, index, 20);
      const auto decoded = Decode(Encode(message));
      ASSERT_TRUE(decoded.ok()) << decoded.status();
      EXPECT_EQ(decoded->index(), index);
      EXPECT_EQ(Encode(*decoded), Encode(message));
    }
  }
}

TEST(MessagesTest, FetchRequestKeepsItsFields) {
  Digest hash;
  hash.bytes.fill(7);
  FetchRequest request{
      11, 12, 13, 1, true, {{Kind::kKv, 3, {1, 100}, {2, 200}, 300}, {Kind::kE, 4, {5, 6}, {0, 0}, 7}}, {hash}, {42}};
  const auto decoded = Decode(Encode(request));
  ASSERT_TRUE(decoded.ok()) << decoded.status();
  const auto& m = std::get<FetchRequest>(*decoded);
  EXPECT_EQ(m.request_id, 11u);
  EXPECT_EQ(m.namespace_id, 12u);
  EXPECT_EQ(m.remaining_ms, 13u);
  EXPECT_EQ(m.priority, 1u);
  EXPECT_TRUE(m.checksums);
  ASSERT_EQ(m.items.size(), 2u);
  EXPECT_EQ(m.items[0].second.region, 2u);
  EXPECT_EQ(m.items[0].second.base, 200u);
  EXPECT_EQ(m.items[0].slot_stride, 300u);
  EXPECT_EQ(m.items[1].kind, Kind::kE);
  EXPECT_EQ(m.items[1].first.base, 6u);
  EXPECT_THAT(m.blocks, testing::ElementsAre(hash));
  EXPECT_THAT(m.slots, testing::ElementsAre(42u));
}

TEST(MessagesTest, TheLargestMessagesFit) {
  const std::vector<Digest> digests(kMaxBlocksPerMessage);
  const std::vector<uint32_t> numbers(kMaxBlocksPerMessage);
  const std::vector<TransferItem> items(kMaxItemsPerMessage);
  FillRequest fill{1, 2, items, std::vector<uint32_t>(64), std::vector<uint32_t>(64), {}};
  fill.checksums.resize(kMaxExtentsPerFill);
  const std::vector<Message> messages = {
      CoverageRequest{1, 0, {{1, digests}}},
      CoverageAnswer{1, std::vector<BlockCoverage>(kMaxBlocksPerMessage)},
      FetchRequest{1, 2, 3, 0, false, items, digests, numbers},
      LayerDone{1, 0, 0, std::vector<uint64_t>(kMaxBlocksPerMessage)},
      OfferRequest{1, 2, {}, {}, std::vector<OfferBlock>(kMaxBlocksPerMessage)},
      OfferAnswer{1, 2, std::vector<BlockOffer>(kMaxBlocksPerMessage)},
      fill,
      ActionRequest{1, 2, BlockAction::kPin, digests},
  };
  for (const Message& message : messages) {
    const std::vector<std::byte> bytes = Encode(message);
    EXPECT_LE(bytes.size(), kMaxMessageBytes);
    EXPECT_TRUE(DecodesToItself(bytes)) << message.index();
  }
}

TEST(MessagesTest, LongStatusTextIsCut) {
  const auto decoded = Decode(Encode(FetchDone{1, 14, std::string(5000, 'x')}));
  ASSERT_TRUE(decoded.ok()) << decoded.status();
  EXPECT_EQ(std::get<FetchDone>(*decoded).text, std::string(kMaxStatusTextBytes, 'x'));
}

TEST(MessagesTest, EveryTruncationIsRefused) {
  std::mt19937_64 random(2);
  for (size_t index = 0; index < kTypes; ++index) {
    const std::vector<std::byte> bytes = Encode(RandomMessage(random, index, 5));
    for (size_t length = 0; length < bytes.size(); ++length) {
      std::vector<std::byte> cut(bytes.begin(), bytes.begin() + length);
      EXPECT_FALSE(Decode(cut).ok()) << "type " << index + 1 << " cut to " << length;
      // The same with a length field that agrees.
      if (length < sizeof(Header)) continue;
      const auto said = static_cast<uint32_t>(length);
      std::memcpy(cut.data() + offsetof(Header, bytes), &said, sizeof(said));
      EXPECT_FALSE(Decode(cut).ok()) << "type " << index + 1 << " cut to " << length;
    }
  }
}

TEST(MessagesTest, WhatFollowsAMessageIsRefused) {
  std::mt19937_64 random(3);
  for (size_t index = 0; index < kTypes; ++index) {
    std::vector<std::byte> bytes = Encode(RandomMessage(random, index, 5));
    bytes.push_back(std::byte{0});
    EXPECT_FALSE(Decode(bytes).ok());
    const auto said = static_cast<uint32_t>(bytes.size());
    std::memcpy(bytes.data() + offsetof(Header, bytes), &said, sizeof(said));
    EXPECT_FALSE(Decode(bytes).ok()) << "type " << index + 1;
  }
}

TEST(MessagesTest, AnotherVersionOfAnyTypeIsRefusedByName) {
  std::mt19937_64 random(5);
  for (size_t index = 0; index < kTypes; ++index) {
    for (const uint16_t version : {0, 2, 3, 0xffff}) {
      std::vector<std::byte> bytes = Encode(RandomMessage(random, index, 3));
      std::memcpy(bytes.data() + offsetof(Header, version), &version, sizeof(version));
      const auto decoded = Decode(bytes);
      EXPECT_EQ(decoded.status().code(), absl::StatusCode::kInvalidArgument);
      EXPECT_THAT(decoded.status().ToString(), testing::HasSubstr(absl::StrCat("version ", version)));
    }
  }
}

// One mutation: a bit, a byte, a 32-bit count, a stretch copied elsewhere, or a cut or grown end.
void Mutate(std::mt19937_64& random, std::vector<std::byte>& bytes) {
  const size_t at = bytes.empty() ? 0 : random() % bytes.size();
  switch (bytes.empty() ? 5 : random() % 6) {
    case 0:
      bytes[at] ^= static_cast<std::byte>(1u << random() % 8);
      break;
    case 1:
      bytes[at] = static_cast<std::byte>(random());
      break;
    case 2: {
      static constexpr uint32_t kCounts[] = {0, 1, 16, 255, 256, 4095, 4096, 4097, 0x7fffffff, 0xffffffff};
      const uint32_t count = kCounts[random() % std::size(kCounts)];
      if (bytes.size() >= 4) std::memcpy(bytes.data() + random() % (bytes.size() - 3) / 4 * 4, &count, sizeof(count));
      break;
    }
    case 3: {
      const size_t to = random() % bytes.size();
      std::memmove(bytes.data() + to, bytes.data() + at, std::min(bytes.size() - to, bytes.size() - at));
      break;
    }
    case 4:
      bytes.resize(at);
      break;
    default:
      bytes.resize(bytes.size() + random() % 64, static_cast<std::byte>(random()));
  }
}

TEST(MessagesTest, MutatedMessagesAreRefusedOrDecodeToThemselves) {
  const int cases = Count(200'000, 2'000'000);
  const uint64_t seed = Seed();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::mt19937_64 random(seed);
  int decoded = 0;
  for (int i = 0; i < cases; ++i) {
    std::vector<std::byte> bytes = Encode(RandomMessage(random, random() % kTypes, 3));
    for (uint64_t n = random() % 4 + 1; n > 0; --n) Mutate(random, bytes);
    // Mostly past the length check, so that bodies are reached.
    if (bytes.size() >= sizeof(Header) && random() % 4 != 0) {
      const auto said = static_cast<uint32_t>(bytes.size());
      std::memcpy(bytes.data() + offsetof(Header, bytes), &said, sizeof(said));
    }
    decoded += DecodesToItself(bytes) ? 1 : 0;
  }
  // Both happen often, or the mutations say little.
  EXPECT_GT(decoded, cases / 100);
  EXPECT_GT(cases - decoded, cases / 100);
}

TEST(MessagesDeathTest, EncodingBeyondALimitEndsTheProgram) {
  FetchRequest request{};
  request.blocks.resize(2);
  request.slots.resize(1);
  EXPECT_DEATH(Encode(request), "slots");
}

}  // namespace
}  // namespace droidspeak::wire
