// SPDX-License-Identifier: Apache-2.0
// Files that are not what they should be, and checkpoints that do not fit their configuration.
#include <gtest/gtest.h>

#include <cstring>
#include <limits>

#include "absl/strings/str_replace.h"
#include "engine/model/model.h"
#include "engine/model/safetensors.h"
#include "engine/model/score.h"
#include "tests/engine/model/fixture.h"

namespace droidspeak {
namespace {

TEST(SafetensorsTest, WrittenTensorsReadBack) {
  const ScratchDir dir;
  const std::vector<float> a = {1, 2, 3, 4, 5, 6};
  const std::vector<int64_t> b = {7};
  const TensorToWrite tensors[] = {
      {.name = "a", .dtype = "F32", .shape = {2, 3}, .bytes = {reinterpret_cast<const std::byte*>(a.data()), 24}},
      {.name = "b\"\n", .dtype = "I64", .shape = {1}, .bytes = {reinterpret_cast<const std::byte*>(b.data()), 8}},
      {.name = "empty", .dtype = "BF16", .shape = {0, 4}, .bytes = {}}};
  ASSERT_TRUE(WriteSafetensors(dir / "x.safetensors", tensors).ok());
  const auto file = SafetensorsFile::Open(dir / "x.safetensors");
  ASSERT_TRUE(file.ok()) << file.status();
  const auto& read = (*file)->tensors();
  ASSERT_EQ(read.size(), 3u);
  EXPECT_EQ(read.at("a").shape, (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(std::memcmp(read.at("a").bytes.data(), a.data(), 24), 0);
  EXPECT_EQ(std::memcmp(read.at("b\"\n").bytes.data(), b.data(), 8), 0);
  EXPECT_EQ(read.at("empty").bytes.size(), 0u);
}

TEST(SafetensorsTest, UnwritableTargetLeavesNothing) {
  const ScratchDir dir;
  EXPECT_TRUE(FailsNaming(WriteSafetensors(dir / "no/x.safetensors", {}), {dir / "no/x.safetensors"}));
  EXPECT_TRUE(std::filesystem::is_empty(dir.path()));
}

struct BadFile {
  std::string header;
  size_t data_bytes;
  std::vector<std::string> parts;
};

TEST(SafetensorsTest, BadHeadersAreRefusedNamingFileAndTensor) {
  const std::vector<BadFile> cases = {
      {"", 0, {"JSON"}},
      {"{", 0, {"JSON"}},
      {"[]", 0, {"object"}},
      {R"({"a": 5})", 0, {"'a'", "object"}},
      {R"({"a": {}})", 0, {"'a'", "dtype"}},
      {R"({"a": {"dtype": 3, "shape": [1], "data_offsets": [0, 4]}})", 4, {"'a'", "dtype"}},
      {R"({"a": {"dtype": "F31", "shape": [1], "data_offsets": [0, 4]}})", 4, {"'a'", "F31"}},
      {R"({"a": {"dtype": "F32", "data_offsets": [0, 4]}})", 4, {"'a'", "shape"}},
      {R"({"a": {"dtype": "F32", "shape": 1, "data_offsets": [0, 4]}})", 4, {"'a'", "shape"}},
      {R"({"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}})", 4, {"'a'", "[-1]"}},
      {R"({"a": {"dtype": "F32", "shape": [1.0], "data_offsets": [0, 4]}})", 4, {"'a'", "[1.0]"}},
      {R"({"a": {"dtype": "F32", "shape": [1,1,1,1,1,1,1,1,1], "data_offsets": [0, 4]}})", 4, {"'a'", "rank 9"}},
      {R"({"a": {"dtype": "F32", "shape": [281474976710656, 281474976710656], "data_offsets": [0, 0]}})",
       0,
       {"overflow"}},
      {R"({"a": {"dtype": "F32", "shape": [9223372036854775808], "data_offsets": [0, 0]}})", 0, {"'a'", "shape"}},
      {R"({"a": {"dtype": "F32", "shape": [1]}})", 4, {"'a'", "data_offsets"}},
      {R"({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0]}})", 4, {"'a'", "data_offsets"}},
      {R"({"a": {"dtype": "F32", "shape": [1], "data_offsets": [-4, 0]}})", 4, {"'a'", "data_offsets"}},
      {R"({"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}})", 4, {"'a'", "[4, 0)"}},
      {R"({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}})", 4, {"'a'", "[0, 8)", "truncated"}},
      {R"({"a": {"dtype": "F32", "shape": [1], "data_offsets": [18446744073709551612, 18446744073709551615]}})",
       4,
       {"'a'"}},
      {R"({"a": {"dtype": "F32", "shape": [3], "data_offsets": [0, 8]}})", 8, {"'a'", "8 bytes", "expected 12"}},
      {R"({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}})", 8, {"8 data bytes", "describes 4"}},
      {R"({"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}})", 8, {"'a'", "hole"}},
      {R"({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
           "b": {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]}})",
       12,
       {"'b'", "overlaps"}},
      {R"({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
           "b": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}})",
       4,
       {"'b'", "overlaps"}},
  };
  const ScratchDir dir;
  for (const BadFile& bad : cases) {
    WriteText(dir / "bad.safetensors", SafetensorsBytes(bad.header, bad.data_bytes));
    const auto file = SafetensorsFile::Open(dir / "bad.safetensors");
    std::vector<std::string> parts = bad.parts;
    parts.push_back(dir / "bad.safetensors");
    EXPECT_TRUE(FailsNaming(file.status(), parts)) << bad.header;
  }
}

TEST(SafetensorsTest, BadLengthsAreRefused) {
  const ScratchDir dir;
  const std::string path = dir / "bad.safetensors";
  const auto open = [&path](const std::string& bytes) {
    WriteText(path, bytes);
    return SafetensorsFile::Open(path).status();
  };
  EXPECT_TRUE(FailsNaming(open(""), {path, "0 bytes"}));
  EXPECT_TRUE(FailsNaming(open("1234567"), {path, "7 bytes"}));
  std::string huge = SafetensorsBytes("{}", 0);
  huge[7] = '\x7f';
  EXPECT_TRUE(FailsNaming(open(huge), {path, "header length"}));
  std::string long_header = SafetensorsBytes("{}", 0);
  long_header[0] = 3;
  EXPECT_TRUE(FailsNaming(open(long_header), {path, "header length 3", "at most 2"}));
  EXPECT_TRUE(FailsNaming(open("version https://git-lfs.github.com/spec/v1\n"), {path, "header length"}));
  EXPECT_TRUE(FailsNaming(SafetensorsFile::Open(dir / "none").status(), {dir / "none"}));
  EXPECT_TRUE(FailsNaming(SafetensorsFile::Open(dir.path()).status(), {dir.path(), "regular file"}));
}

// Loads a spoiled copy of testdata/NAME.
struct BadCheckpoint {
  const char* name;
  std::function<void(const ScratchDir&)> spoil;
  std::vector<std::string> parts;
};

using Tensors = std::vector<TensorToWrite>;

TensorToWrite& Named(Tensors& tensors, const std::string& name) {
  for (TensorToWrite& tensor : tensors) {
    if (tensor.name == name) return tensor;
  }
  ADD_FAILURE() << name;
  return tensors.front();
}

constexpr char kQ[] = "model.layers.1.self_attn.q_proj.weight";
constexpr char kFile[] = "model.safetensors";
constexpr char kIndex[] = "model.safetensors.index.json";

std::vector<BadCheckpoint> BadCheckpoints() {
  const auto erase = [](const std::string& gone) {
    return [gone](const ScratchDir& dir) {
      dir.EditTensors(kFile, [&gone](Tensors& tensors) {
        std::erase_if(tensors, [&gone](const TensorToWrite& tensor) { return tensor.name == gone; });
      });
    };
  };
  const auto remove = [](const std::string& file) {
    return [file](const ScratchDir& dir) { std::filesystem::remove(dir / file); };
  };
  const auto edit = [](const std::function<void(TensorToWrite&)>& change) {
    return [change](const ScratchDir& dir) {
      dir.EditTensors(kFile, [&change](Tensors& tensors) { change(Named(tensors, kQ)); });
    };
  };
  return {
      {"llama-mha-16", remove(kFile), {"model.safetensors", "neither"}},
      {"llama-mha-16", remove("config.json"), {"config.json"}},
      {"llama-mha-16",
       [](const ScratchDir& dir) { std::filesystem::resize_file(dir / kFile, 100000); },
       {kFile, "tensor '", "truncated"}},
      {"llama-mha-16", [](const ScratchDir& dir) { std::filesystem::resize_file(dir / kFile, 4); }, {kFile, "4 bytes"}},
      {"llama-mha-16", erase(kQ), {kQ, "missing"}},
      {"llama-mha-16", erase("lm_head.weight"), {"lm_head.weight", "missing"}},
      {"llama-mha-16", erase("model.norm.weight"), {"model.norm.weight", "missing"}},
      {"llama-mha-16", erase("model.embed_tokens.weight"), {"model.embed_tokens.weight", "missing"}},
      {"llama-mha-16", erase("model.layers.0.mlp.up_proj.weight"), {"model.layers.0.mlp.up_proj.weight", "missing"}},
      {"llama-mha-16",
       edit([](TensorToWrite& tensor) {
         tensor.shape = {32, 128};
       }),
       {kQ, "[32,128]", "[64,64]"}},
      {"llama-mha-16", edit([](TensorToWrite& tensor) { tensor.shape = {4096}; }), {kQ, "[4096]", "[64,64]"}},
      {"llama-mha-16", edit([](TensorToWrite& tensor) { tensor.dtype = "I32"; }), {kQ, "I32", "BF16"}},
      {"llama-mha-16", edit([](TensorToWrite& tensor) { tensor.name = "model.layers.7.q"; }), {kQ, "missing"}},
      {"llama-mha-16",
       [](const ScratchDir& dir) {
         dir.EditTensors(kFile, [](Tensors& tensors) {
           TensorToWrite extra = Named(tensors, kQ);
           extra.name = "model.layers.0.self_attn.q_norm.weight";
           tensors.push_back(extra);
         });
       },
       {"model.layers.0.self_attn.q_norm.weight", "not part"}},
      {"llama-mha-16",
       [](const ScratchDir& dir) { dir.EditJson("config.json", [](auto& json) { json["num_hidden_layers"] = 3; }); },
       {"model.layers.2.", "missing"}},
      {"llama-mha-16",
       [](const ScratchDir& dir) { dir.EditJson("config.json", [](auto& json) { json["num_hidden_layers"] = 1; }); },
       {"model.layers.1.", "not part"}},
      {"llama-mha-16",
       [](const ScratchDir& dir) { dir.EditJson("config.json", [](auto& json) { json["vocab_size"] = 129; }); },
       {"model.embed_tokens.weight", "[128,64]", "[129,64]"}},
      {"llama-mha-16",
       [](const ScratchDir& dir) { dir.EditJson("config.json", [](auto& json) { json["num_key_value_heads"] = 2; }); },
       {"k_proj.weight", "[64,64]", "[32,64]"}},
      {"llama-mha-16",
       [](const ScratchDir& dir) { dir.EditJson("config.json", [](auto& json) { json["attention_bias"] = true; }); },
       {"q_proj.bias", "missing"}},
      {"llama-bias-linear",
       [](const ScratchDir& dir) { dir.EditJson("config.json", [](auto& json) { json["mlp_bias"] = false; }); },
       {"mlp.", ".bias", "not part"}},
      {"llama-gqa-128-sharded", remove("model-00002-of-00003.safetensors"), {"model-00002-of-00003.safetensors"}},
      {"llama-gqa-128-sharded", [](const ScratchDir& dir) { WriteText(dir / kIndex, "{"); }, {kIndex, "JSON"}},
      {"llama-gqa-128-sharded", [](const ScratchDir& dir) { WriteText(dir / kIndex, "{}"); }, {kIndex, "weight_map"}},
      {"llama-gqa-128-sharded",
       [](const ScratchDir& dir) { dir.EditJson(kIndex, [](auto& json) { json["weight_map"][kQ] = 5; }); },
       {kIndex, kQ, "file name"}},
      {"llama-gqa-128-sharded",
       [](const ScratchDir& dir) { dir.EditJson(kIndex, [](auto& json) { json["weight_map"][kQ] = "../secret"; }); },
       {kIndex, kQ, "../secret", "plain file name"}},
      {"llama-gqa-128-sharded",
       [](const ScratchDir& dir) {
         dir.EditJson(kIndex, [](auto& json) { json["weight_map"]["ghost"] = "model-00001-of-00003.safetensors"; });
       },
       {"model-00001-of-00003.safetensors", "ghost"}},
      {"llama-gqa-128-sharded",
       [](const ScratchDir& dir) { dir.EditJson(kIndex, [](auto& json) { json["weight_map"].erase(kQ); }); },
       {kIndex, kQ, "missing"}},
  };
}

TEST(CheckpointTest, SpoiledCheckpointsAreRefusedNamingTheCulprit) {
  for (const BadCheckpoint& bad : BadCheckpoints()) {
    const ScratchDir dir(bad.name);
    ASSERT_TRUE(Model::Load(dir.path(), Dtype::kBfloat16).ok()) << bad.name;
    bad.spoil(dir);
    EXPECT_TRUE(FailsNaming(Model::Load(dir.path(), Dtype::kBfloat16).status(), bad.parts))
        << bad.name << ": " << testing::PrintToString(bad.parts);
  }
}

// As transformers: a checkpoint that says its head is tied, but has another one, uses the other one.
TEST(CheckpointTest, StoredHeadThatDiffersIsNotTied) {
  const ScratchDir dir("llama-mha-16");
  const std::vector<int32_t> tokens = {3, 1, 4, 1, 5};
  const auto logits = [&] {
    return ScoreTokens(*Model::Load(dir.path(), Dtype::kFloat32).value(), tokens, true).value();
  };
  const at::Tensor untied = logits();
  dir.EditJson("config.json", [](auto& json) { json["tie_word_embeddings"] = true; });
  EXPECT_TRUE(logits().equal(untied));
}

TEST(CheckpointTest, SizesBeyondTheTensorsAreRefusedBeforeMemoryIsTaken) {
  const ScratchDir dir("llama-mha-16");
  dir.EditJson("config.json", [](auto& json) {
    json["num_attention_heads"] = json["num_key_value_heads"] = 65536;
    json["head_dim"] = 4096;
  });
  EXPECT_TRUE(FailsNaming(Model::Load(dir.path(), Dtype::kFloat32).status(), {"q_proj.weight", "[64,64]", "expected"}));
}

TEST(ModelPathTest, FoldersAndAdaptersAreTakenApart) {
  const ScratchDir dir;
  std::filesystem::create_directory(dir / "a+b");
  std::filesystem::create_directory(dir / "c");
  EXPECT_EQ(ParseModelPath(dir / "a+b")->dir, dir / "a+b");
  EXPECT_EQ(ParseModelPath(dir / "a+b")->adapter, "");
  EXPECT_EQ(ParseModelPath((dir / "c+") + (dir / "a+b"))->adapter, dir / "a+b");
  EXPECT_EQ(ParseModelPath((dir / "a+b+") + (dir / "c"))->dir, dir / "a+b");
  EXPECT_EQ(ParseModelPath((dir / "a+b+") + (dir / "c"))->adapter, dir / "c");
  EXPECT_TRUE(FailsNaming(ParseModelPath(dir / "none").status(), {dir / "none", "not a folder"}));
  EXPECT_TRUE(FailsNaming(ParseModelPath((dir / "c+") + (dir / "none")).status(), {"adapter", dir / "none"}));
}

TEST(ModelTest, WeightBytesCountTiedEmbeddingsOnce) {
  const auto model = LoadTestModel("llama-gqa-64", Dtype::kBfloat16);
  int64_t stored = 0;
  const auto checkpoint = Checkpoint::Open(TestData("llama-gqa-64"));
  for (const auto& [name, tensor] : checkpoint->tensors()) stored += static_cast<int64_t>(tensor.bytes.size());
  EXPECT_EQ(model->weight_bytes(), stored);
}

}  // namespace
}  // namespace droidspeak
