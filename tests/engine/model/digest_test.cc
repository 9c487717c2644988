// SPDX-License-Identifier: Apache-2.0
#include "engine/model/digest.h"

#include <gtest/gtest.h>

#include "tests/engine/model/fixture.h"

namespace droidspeak {
namespace {

// Computed from docs/data-model.md by a few lines of Python's hashlib over the committed checkpoint.
constexpr char kTiny[] = "llama-gqa-64";
constexpr char kTinyWeights[] = "ef048e44feafe908345f4fd0f30bafda9cdc2f8e98433bc6cb0a36db3af4dd88";
constexpr char kTinyModel[] = "93f05383aa56c260970786d15d344be44ebb2a590ff021f2513056995f6fec06";
constexpr char kAdapter[] = "43a0d3fbe8c87c99ac55dcf43d3a516a1befd5770e26f0baa92c03e5de02044d";

Digest Weights(const std::string& dir, const std::string& cache = "") {
  const auto digests = ComputeModelDigests(dir, cache);
  EXPECT_TRUE(digests.ok()) << digests.status();
  return digests->weights;
}

TEST(DigestTest, CommittedCheckpointHasThePinnedDigest) {
  const auto digests = ComputeModelDigests(TestData(kTiny), "");
  ASSERT_TRUE(digests.ok()) << digests.status();
  EXPECT_EQ(digests->weights.Hex(), kTinyWeights);
  EXPECT_FALSE(digests->adapter.has_value());
  EXPECT_EQ(digests->model.Hex(), kTinyModel);
}

TEST(DigestTest, AdapterHasADigestOfItsOwn) {
  const std::string base = TestData("llama-mha-16");
  const auto digests = ComputeModelDigests(base + "+" + base + "/adapter-layers", "");
  ASSERT_TRUE(digests.ok()) << digests.status();
  EXPECT_EQ(digests->weights, Weights(base));
  EXPECT_EQ(digests->adapter->Hex(), kAdapter);
  EXPECT_EQ(digests->model, ModelDigest(digests->weights, digests->adapter));
}

TEST(DigestTest, ShardsDoNotCount) {
  const ScratchDir one("llama-gqa-128-sharded");
  const Digest sharded = Weights(one.path());
  const auto checkpoint = Checkpoint::Open(one.path());
  std::vector<TensorToWrite> tensors;
  for (const auto& [name, stored] : checkpoint->tensors())
    tensors.push_back({name, stored.dtype, stored.shape, stored.bytes});
  ASSERT_TRUE(WriteSafetensors(one / "model.safetensors", tensors).ok());
  EXPECT_EQ(Weights(one.path()), sharded);
}

TEST(DigestTest, AnyByteNameShapeOrNumericFieldCounts) {
  const Digest digest = Weights(TestData(kTiny));
  const ScratchDir byte(kTiny), name(kTiny), theta(kTiny), comment(kTiny);
  std::string bytes = ReadText(byte / "model.safetensors");
  bytes.back() ^= 1;
  WriteText(byte / "model.safetensors", bytes);
  EXPECT_NE(Weights(byte.path()), digest);
  name.EditTensors("model.safetensors", [](auto& tensors) { tensors[0].name += "x"; });
  EXPECT_NE(Weights(name.path()), digest);
  theta.EditJson("config.json", [](auto& json) { json["rope_parameters"]["rope_theta"] = 20000.0; });
  EXPECT_NE(Weights(theta.path()), digest);
  comment.EditJson("config.json", [](auto& json) { json["_name_or_path"] = "another name"; });
  EXPECT_EQ(Weights(comment.path()), digest);
}

TEST(DigestTest, CacheAnswersForUnchangedFilesOnly) {
  const ScratchDir model(kTiny), cache;
  const std::string cache_dir = cache / "digests";
  const Digest digest = Weights(model.path(), cache_dir);
  // A false entry shows that the second answer is the cache's.
  const auto entry = std::filesystem::directory_iterator(cache_dir)->path().string();
  const std::string planted(64, 'a');
  WriteText(entry, planted);
  EXPECT_EQ(Weights(model.path(), cache_dir).Hex(), planted);
  WriteText(entry, "damaged");
  EXPECT_EQ(Weights(model.path(), cache_dir), digest);
  WriteText(entry, planted);
  std::string bytes = ReadText(model / "model.safetensors");
  bytes.back() ^= 1;
  WriteText(model / "model.safetensors", bytes);
  const Digest changed = Weights(model.path(), cache_dir);
  EXPECT_NE(changed.Hex(), planted);
  EXPECT_NE(changed, digest);
}

TEST(DigestTest, CacheThatCannotBeWrittenIsNoError) {
  EXPECT_EQ(Weights(TestData(kTiny), "/proc/nowhere/digests").Hex(), kTinyWeights);
}

TEST(DigestTest, BrokenCheckpointsAreRefused) {
  const ScratchDir dir(kTiny);
  std::filesystem::resize_file(dir / "model.safetensors", 1000);
  EXPECT_TRUE(FailsNaming(ComputeModelDigests(dir.path(), "").status(), {dir / "model.safetensors"}));
}

}  // namespace
}  // namespace droidspeak
