// SPDX-License-Identifier: Apache-2.0
#include "common/key/checksum.h"

#include <algorithm>
#include <random>
#include <vector>

#include "gtest/gtest.h"

namespace droidspeak {
namespace {

std::vector<std::byte> Pattern(size_t size) {
  std::vector<std::byte> bytes(size);
  for (size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::byte>(i % 251);
  return bytes;
}

Digest Block1() {
  return Digest::FromHex("761a0ca15a1f39d3186589741b1e8dc2c0f5085ce7df1a7d462f93673791595a").value();
}

const ExtentIdentity kKv3{Block1(), Kind::kKv, 3};
const ExtentIdentity kE3{Block1(), Kind::kE, 3};

TEST(Checksum, EqualsTheVectors) {
  EXPECT_EQ(ExtentChecksum(kKv3, Pattern(32768)), 0x148bfa6024b37cb9);
  EXPECT_EQ(ExtentChecksum(kE3, Pattern(40000)), 0x35fd2716517ffec0);
}

TEST(Checksum, FromChunkHashesEqualsTheVector) {
  const std::vector<std::byte> bytes = Pattern(40000);
  std::vector<uint64_t> hashes;
  for (size_t at = 0; at < bytes.size(); at += kChecksumChunkBytes) {
    hashes.push_back(ChunkHash(absl::MakeSpan(bytes).subspan(at, kChecksumChunkBytes)));
  }
  ASSERT_EQ(hashes.size(), 3);
  EXPECT_EQ(ExtentChecksum(kE3, hashes, bytes.size()), 0x35fd2716517ffec0);
}

TEST(Checksum, TwoPiecesEqualOneWhereverTheBorder) {
  const std::vector<std::byte> bytes = Pattern(40000);
  const absl::Span<const std::byte> span(bytes);
  for (const size_t border : {0, 1, 16383, 16384, 16385, 20000, 32768, 39999, 40000}) {
    EXPECT_EQ(ExtentChecksum(kE3, span.first(border), span.subspan(border)), 0x35fd2716517ffec0) << border;
  }
}

TEST(Checksum, StreamInRandomPiecesEqualsTheWholeAndStartsAfresh) {
  std::mt19937 random(1);
  ChecksumStream stream;
  for (const size_t size : {0, 1, 16383, 16384, 16385, 100000}) {
    const std::vector<std::byte> bytes = Pattern(size);
    for (int round = 0; round < 20; ++round) {
      absl::Span<const std::byte> rest(bytes);
      while (!rest.empty()) {
        const size_t take = std::min<size_t>(rest.size(), random() % 40000);
        stream.Update(rest.first(take));
        rest.remove_prefix(take);
      }
      EXPECT_EQ(stream.Finish(kKv3), ExtentChecksum(kKv3, bytes)) << size;
    }
  }
}

TEST(Checksum, EveryChangedByteIsFound) {
  std::vector<std::byte> bytes = Pattern(20000);
  const uint64_t right = ExtentChecksum(kKv3, bytes);
  for (size_t i = 0; i < bytes.size(); i += 97) {
    bytes[i] ^= std::byte{0x10};
    EXPECT_NE(ExtentChecksum(kKv3, bytes), right) << i;
    bytes[i] ^= std::byte{0x10};
  }
}

TEST(Checksum, AnotherIdentityOrLengthIsAnotherChecksum) {
  const std::vector<std::byte> bytes = Pattern(16384);
  const uint64_t right = ExtentChecksum(kKv3, bytes);
  EXPECT_NE(ExtentChecksum(kE3, bytes), right);
  EXPECT_NE(ExtentChecksum({Block1(), Kind::kKv, 4}, bytes), right);
  EXPECT_NE(ExtentChecksum({Block1(), Kind::kKv, 3 + 256}, bytes), right);
  EXPECT_NE(ExtentChecksum({Digest{}, Kind::kKv, 3}, bytes), right);
  const uint64_t hash = ChunkHash(bytes);
  EXPECT_NE(ExtentChecksum(kKv3, absl::MakeSpan(&hash, 1), 16383), right);
}

}  // namespace
}  // namespace droidspeak
