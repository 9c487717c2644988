// SPDX-License-Identifier: Apache-2.0
#include "common/key/digest.h"

#include <string>

#include "absl/container/flat_hash_set.h"
#include "absl/hash/hash_testing.h"
#include "common/key/model_digest.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace droidspeak {
namespace {

using ::testing::HasSubstr;

TEST(Digest, Sha256OfAbcIsFips180sVector) {
  EXPECT_EQ(Sha256Of("abc").Hex(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST(Digest, HmacIsRfc4231sVectors) {
  EXPECT_EQ(HmacSha256("Jefe", "what do ya want for nothing?").Hex(),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
  EXPECT_EQ(HmacSha256(std::string(131, '\xaa'), "Test Using Larger Than Block-Size Key - Hash Key First").Hex(),
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
  EXPECT_EQ(HmacSha256("", "").Hex(), "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad");
}

TEST(Digest, UpdatesInPiecesEqualOneUpdate) {
  Sha256 sha;
  sha.Update("a").Update("").Update(std::string_view("bc"));
  EXPECT_EQ(sha.Finish(), Sha256Of("abc"));
  EXPECT_EQ(sha.Update("abc").Finish(), Sha256Of("abc")) << "ready for the next message after Finish";
}

TEST(Digest, IntegersAndLengthsAreLittleEndian) {
  EXPECT_EQ(Sha256().UpdateU32(0x64636261).Finish(), Sha256Of("abcd"));
  EXPECT_EQ(Sha256().UpdateU64(0x6867666564636261).Finish(), Sha256Of("abcdefgh"));
  EXPECT_EQ(Sha256().UpdateLengthPrefixed("xy").Finish(), Sha256Of(std::string_view("\x02\0\0\0xy", 6)));
}

TEST(Digest, HexIsReadBackInEitherCase) {
  const Digest digest = Sha256Of("abc");
  EXPECT_EQ(Digest::FromHex(digest.Hex()).value(), digest);
  EXPECT_EQ(Digest::FromHex("BA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AD").value(), digest);
}

TEST(Digest, BadHexIsRefusedNamingWhatIsWrong) {
  EXPECT_THAT(Digest::FromHex("abcd").status().message(), HasSubstr("64 hexadecimal digits, not 4"));
  std::string hex = Sha256Of("abc").Hex();
  hex[9] = 'g';
  EXPECT_THAT(Digest::FromHex(hex).status().message(), HasSubstr("character 10"));
}

TEST(Digest, HashesAndComparesByAllBytes) {
  Digest last_differs = Sha256Of("abc");
  last_differs.bytes[31] ^= 1;
  EXPECT_TRUE(absl::VerifyTypeImplementsAbslHashCorrectly({Digest{}, Sha256Of("abc"), last_differs}));
  EXPECT_EQ((absl::flat_hash_set<Digest>{Sha256Of("abc"), last_differs, Sha256Of("abc")}).size(), 2);
  EXPECT_FALSE(EqualInConstantTime(Sha256Of("abc"), last_differs));
  EXPECT_TRUE(EqualInConstantTime(last_differs, last_differs));
}

TEST(ModelDigest, EqualsTheVector) {
  EXPECT_EQ(ModelDigest(Sha256Of("weights"), std::nullopt).Hex(),
            "8f840e095956602a76b075c9315b0c9438c60958720e734e6be2cbeaa2a45e76");
}

TEST(ModelDigest, DependsOnTheAdapter) {
  const Digest weights = Sha256Of("weights");
  EXPECT_NE(ModelDigest(weights, std::nullopt), ModelDigest(weights, Digest{}));
  EXPECT_NE(ModelDigest(weights, Sha256Of("a")), ModelDigest(weights, Sha256Of("b")));
}

TEST(ModelDigest, WeightsOfAModelIdAreItsPrefixedHash) {
  EXPECT_EQ(WeightsFromModelId("m"), Sha256Of(std::string_view("droidspeak/model-id/v1\x01\0\0\0m", 27)));
}

}  // namespace
}  // namespace droidspeak
