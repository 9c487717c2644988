// SPDX-License-Identifier: Apache-2.0
// Adapters that cannot be merged, or do not fit, are refused by name. That good ones merge right: golden_test.cc.
#include "engine/model/lora.h"

#include <gtest/gtest.h>

#include "tests/engine/model/fixture.h"

namespace droidspeak {
namespace {

using Json = nlohmann::ordered_json;

constexpr char kConfig[] = "adapter_config.json";
constexpr char kWeights[] = "adapter_model.safetensors";

absl::Status LoadFrom(const ScratchDir& adapter) {
  const ModelConfig config = LoadModelConfig(TestData("llama-mha-16")).value();
  return LoraAdapter::Load(adapter.path(), config).status();
}

struct BadAdapter {
  const char* patch;  // over adapter_config.json of adapter-patterns
  std::vector<std::string> parts;
};

TEST(LoraTest, UnsupportedOrBadConfigurationsAreRefusedByName) {
  const std::vector<BadAdapter> cases = {
      {R"({"peft_type": "IA3"})", {"peft_type", "IA3", "LORA"}},
      {R"({"peft_type": null})", {"peft_type", "missing"}},
      {R"({"use_dora": true})", {"use_dora", "not supported"}},
      {R"({"modules_to_save": ["lm_head"]})", {"modules_to_save", "lm_head", "not supported"}},
      {R"({"bias": "all"})", {"bias", "all", "none"}},
      {R"({"lora_bias": true})", {"lora_bias"}},
      {R"({"fan_in_fan_out": true})", {"fan_in_fan_out"}},
      {R"({"use_qalora": true})", {"use_qalora"}},
      {R"({"layer_replication": [[0, 1], [0, 1]]})", {"layer_replication"}},
      {R"({"trainable_token_indices": [1]})", {"trainable_token_indices"}},
      {R"({"target_parameters": ["x"]})", {"target_parameters"}},
      {R"({"exclude_modules": ["q_proj"]})", {"exclude_modules"}},
      {R"({"init_lora_weights": "pissa"})", {"init_lora_weights", "pissa"}},
      {R"({"init_lora_weights": "olora"})", {"init_lora_weights", "olora"}},
      {R"({"r": 0})", {"'r'", "0"}},
      {R"({"r": null})", {"'r'", "missing"}},
      {R"({"lora_alpha": "big"})", {"lora_alpha", "number"}},
      {R"({"use_rslora": "yes"})", {"use_rslora", "true or false"}},
      {R"({"target_modules": null})", {"target_modules", "missing"}},
      {R"({"target_modules": ["q_proj", "lm_head"]})", {"target_modules", "'lm_head'"}},
      {R"({"target_modules": ["embed_tokens"]})", {"target_modules", "'embed_tokens'"}},
      {R"({"target_modules": ["roj"]})", {"target_modules", "'roj'"}},
      {R"({"target_modules": "("})", {"target_modules", "regular expression"}},
      {R"({"target_modules": [1]})", {"target_modules"}},
      {R"({"layers_to_transform": [2]})", {"layers_to_transform", "0 to 1"}},
      {R"({"layers_to_transform": "all"})", {"layers_to_transform"}},
      {R"({"layers_pattern": "blocks"})", {"layers_pattern", "blocks"}},
      {R"({"rank_pattern": {"q_proj": "4"}})", {"rank_pattern", "number"}},
      {R"({"rank_pattern": ["q_proj"]})", {"rank_pattern", "object"}},
      {R"({"rank_pattern": {"(q_proj": 4}})", {"rank_pattern", "(q_proj", "regular expression"}},
      {R"({"rank_pattern": {"gate_proj": 2.5}})", {"rank_pattern", "2.5", "gate_proj"}},
      {R"({"alpha_pattern": {"q_proj": null}})", {"alpha_pattern", "number"}},
      {R"({"rank_pattern": {}})", {"lora_A.weight", "expected [4,64]"}},
      {R"({"r": 5})", {"lora_A.weight", "expected [5,"}},
  };
  for (const BadAdapter& bad : cases) {
    const ScratchDir adapter("llama-mha-16/adapter-patterns");
    adapter.EditJson(kConfig, [&bad](Json& json) { json.update(Json::parse(bad.patch)); });
    EXPECT_TRUE(FailsNaming(LoadFrom(adapter), bad.parts)) << bad.patch;
  }
}

TEST(LoraTest, BadTensorsAreRefusedByName) {
  using Tensors = std::vector<TensorToWrite>;
  const std::string name = "base_model.model.model.layers.1.mlp.up_proj.lora_B.weight";
  const auto with = [&](const std::function<void(Tensors&, TensorToWrite&)>& edit) {
    const ScratchDir adapter("llama-mha-16/adapter-patterns");
    adapter.EditTensors(kWeights, [&](Tensors& tensors) {
      for (TensorToWrite& tensor : tensors) {
        if (tensor.name == name) return edit(tensors, tensor);
      }
      ADD_FAILURE() << name;
    });
    return LoadFrom(adapter);
  };
  EXPECT_TRUE(FailsNaming(with([](Tensors& all, TensorToWrite& one) { all.erase(all.begin() + (&one - all.data())); }),
                          {name, "missing"}));
  EXPECT_TRUE(FailsNaming(with([](Tensors&, TensorToWrite& one) { std::swap(one.shape[0], one.shape[1]); }),
                          {name, "[3,96]", "[96,3]"}));
  EXPECT_TRUE(FailsNaming(with([](Tensors&, TensorToWrite& one) { one.dtype = "I32"; }), {name, "I32"}));
  for (const char* bad : {"base_model.model.model.embed_tokens.lora_embedding_A", "base_model.model.lm_head.weight",
                          "base_model.model.model.layers.1.mlp.up_proj.lora_magnitude_vector",
                          "base_model.model.model.layers.9.mlp.up_proj.lora_A.weight"}) {
    EXPECT_TRUE(FailsNaming(with([bad](Tensors& all, TensorToWrite& one) {
                              TensorToWrite extra = one;
                              extra.name = bad;
                              all.push_back(extra);
                            }),
                            {bad, "not supported"}));
  }
}

TEST(LoraTest, MissingFilesAreNamed) {
  for (const char* file : {kConfig, kWeights}) {
    const ScratchDir adapter("llama-mha-16/adapter-patterns");
    std::filesystem::remove(adapter / file);
    EXPECT_TRUE(FailsNaming(LoadFrom(adapter), {adapter / file}));
  }
}

// As PEFT reads them.
TEST(LoraTest, NoLayersMeanAllAndAPathListedWholeIsAdaptedInAnyCase) {
  const ModelConfig config = LoadModelConfig(TestData("llama-mha-16")).value();
  const ScratchDir all("llama-mha-16/adapter-patterns");
  const std::string lines = LoraAdapter::Load(all.path(), config).value()->CanonicalLines();
  all.EditJson(kConfig, [](Json& json) { json["layers_to_transform"] = Json::array(); });
  EXPECT_EQ(LoraAdapter::Load(all.path(), config).value()->CanonicalLines(), lines);
  all.EditJson(kConfig, [](Json& json) {
    json["layers_to_transform"] = {0};
    json["target_modules"] = {"model.layers.1.self_attn.q_proj", "v_proj"};
  });
  const auto adapter = LoraAdapter::Load(all.path(), config).value();
  EXPECT_TRUE(adapter->Delta("model.layers.1.self_attn.q_proj").defined());
  EXPECT_TRUE(adapter->Delta("model.layers.0.self_attn.v_proj").defined());
  EXPECT_FALSE(adapter->Delta("model.layers.1.self_attn.v_proj").defined());
}

TEST(LoraTest, LayersLeftOutAreLeftAlone) {
  const ModelConfig config = LoadModelConfig(TestData("llama-mha-16")).value();
  const auto adapter = LoraAdapter::Load(TestData("llama-mha-16/adapter-layers"), config).value();
  EXPECT_FALSE(adapter->Delta("model.layers.0.self_attn.q_proj").defined());
  EXPECT_FALSE(adapter->Delta("model.layers.1.self_attn.k_proj").defined());
  EXPECT_TRUE(adapter->Delta("model.layers.1.self_attn.q_proj").defined());
  EXPECT_EQ(adapter->CanonicalLines(),
            "peft_type=LORA\nmodel.layers.1.self_attn.q_proj.scale=2\nmodel.layers.1.self_attn.v_proj.scale=2\n");
}

}  // namespace
}  // namespace droidspeak
