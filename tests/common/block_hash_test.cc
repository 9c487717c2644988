// SPDX-License-Identifier: Apache-2.0
#include "common/key/block_hash.h"

#include <numeric>
#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace droidspeak {
namespace {

// The vectors of docs/data-model.md: weights = SHA-256("weights"), no adapter, tokens 0, 1, 2, …
constexpr std::string_view kLayout =
    "v1;layers=8;kv_heads=2;head_dim=64;hidden=256;block_tokens=64;kv=bf16;e=bf16;key=pre-rope";

Digest NamespaceWith(const Digest& salt) {
  return Namespace(salt, Sha256Of("weights"), std::nullopt, kLayout);
}

Digest TenantASalt() {
  std::string secret(32, '\0');
  std::iota(secret.begin(), secret.end(), '\0');
  return Salt(secret, "tenant-a");
}

std::vector<uint32_t> Tokens(size_t count) {
  std::vector<uint32_t> tokens(count);
  std::iota(tokens.begin(), tokens.end(), 0U);
  return tokens;
}

TEST(BlockHash, NamespaceAndBlocksWithZeroSaltEqualTheVectors) {
  const Digest name_space = NamespaceWith(Digest{});
  EXPECT_EQ(name_space.Hex(), "f57711c74ab9dbda09165fdfab62e61cbef6c58b56e0de7f88a3d0a75af716df");
  const std::vector<Digest> blocks = BlockHashes(name_space, Tokens(17 * 64), 64);
  ASSERT_EQ(blocks.size(), 17);
  EXPECT_EQ(blocks[0].Hex(), "761a0ca15a1f39d3186589741b1e8dc2c0f5085ce7df1a7d462f93673791595a");
  EXPECT_EQ(blocks[1].Hex(), "1181e9c62e4194553a521b49b7e39ea1b45eecfe08ea6bf55bf6fd48d1ad1708");
  EXPECT_EQ(blocks[2].Hex(), "edebd2656327622fd402d418b5ca53b9777d5ee4227b579027bcd070dc9cd8d5");
  EXPECT_EQ(blocks[16].Hex(), "f1e0c5d426c23e0ece84bbad0cedea9c45c2252b113b07f451b585aba77540a6");
}

TEST(BlockHash, SaltOfATenantAndWhatFollowsEqualTheVectors) {
  EXPECT_EQ(TenantASalt().Hex(), "2a5a9d4ec58a25eac168b3f278266ae9e90409b38a3cdeb8150b12e83889f16f");
  const Digest name_space = NamespaceWith(TenantASalt());
  EXPECT_EQ(name_space.Hex(), "a816365910ef54fda40f71ce21b3371c43396216e8b33aeea69ebdb3b30f7b9e");
  EXPECT_EQ(BlockHash(name_space, Tokens(64)).Hex(),
            "7418bf2f2c713c8dc56b4e82b7d1fd385aef8618e164012812edf7147831e131");
}

TEST(BlockHash, NamespaceDependsOnEachOfItsParts) {
  const Digest weights = Sha256Of("weights");
  const Digest base = NamespaceWith(Digest{});
  EXPECT_NE(base, NamespaceWith(Sha256Of("salt")));
  EXPECT_NE(base, Namespace(Digest{}, Sha256Of("other"), std::nullopt, kLayout));
  EXPECT_NE(base, Namespace(Digest{}, weights, Digest{}, kLayout));
  EXPECT_NE(base, Namespace(Digest{}, weights, std::nullopt, "v1"));
}

TEST(BlockHash, OnlyFullBlocksAreNamed) {
  const Digest name_space = NamespaceWith(Digest{});
  EXPECT_TRUE(BlockHashes(name_space, Tokens(63), 64).empty());
  EXPECT_EQ(BlockHashes(name_space, Tokens(127), 64).size(), 1);
  EXPECT_TRUE(BlockHashes(name_space, {}, 64).empty());
}

TEST(BlockHash, AChainContinuesFromAnyOfItsBlocks) {
  const std::vector<uint32_t> tokens = Tokens(256);
  const std::vector<Digest> whole = BlockHashes(Digest{}, tokens, 64);
  const std::vector<Digest> rest = BlockHashes(whole[1], absl::MakeSpan(tokens).subspan(128), 64);
  EXPECT_EQ(rest, std::vector<Digest>(whole.begin() + 2, whole.end()));
}

TEST(BlockHash, AnEarlierTokenChangesAllLaterHashes) {
  std::vector<uint32_t> tokens = Tokens(256);
  const std::vector<Digest> before = BlockHashes(Digest{}, tokens, 64);
  tokens[70] = 7;
  const std::vector<Digest> after = BlockHashes(Digest{}, tokens, 64);
  EXPECT_EQ(before[0], after[0]);
  for (size_t i = 1; i < 4; ++i) EXPECT_NE(before[i], after[i]);
}

TEST(BlockHash, ExtraAndLengthAreBound) {
  const std::vector<uint32_t> tokens = Tokens(64);
  EXPECT_NE(BlockHash(Digest{}, tokens), BlockHash(Digest{}, tokens, "image"));
  EXPECT_NE(BlockHash(Digest{}, tokens), BlockHash(Digest{}, absl::MakeSpan(tokens).first(63)));
}

}  // namespace
}  // namespace droidspeak
