// SPDX-License-Identifier: Apache-2.0
#include "engine/model/config.h"

#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "tests/engine/model/fixture.h"

namespace droidspeak {
namespace {

using Json = nlohmann::ordered_json;

Json Llama() {
  return Json::parse(R"({"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 100,
      "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4})");
}

Json Mistral() {
  Json json = Llama();
  json["architectures"] = {"MistralForCausalLM"};
  json["model_type"] = "mistral";
  json["num_key_value_heads"] = 2;
  return json;
}

Json Qwen(int version) {
  Json json = Llama();
  json["architectures"] = {absl::StrCat("Qwen", version, "ForCausalLM")};
  json["model_type"] = absl::StrCat("qwen", version);
  json["num_key_value_heads"] = 2;
  return json;
}

absl::StatusOr<ModelConfig> Parse(const Json& json) {
  return ParseModelConfig(json.dump(), "dir/config.json");
}

// `base` with the fields of `patch` over it.
Json With(Json base, const Json& patch) {
  base.update(patch);
  return base;
}

TEST(ConfigTest, AbsentFieldsTakeTransformersDefaults) {
  const ModelConfig llama = Parse(Llama()).value();
  EXPECT_EQ(llama.kv_heads, 4);
  EXPECT_EQ(llama.head_dim, 16);
  EXPECT_EQ(llama.max_positions, 2048);
  EXPECT_EQ(llama.rms_norm_eps, 1e-6);
  EXPECT_EQ(llama.rope.theta, 10000.0);
  EXPECT_FALSE(llama.tied_embeddings);
  EXPECT_EQ(llama.windows, (std::vector<int64_t>{0, 0}));
  Json json = Mistral();
  json.erase("num_key_value_heads");
  json["num_attention_heads"] = 16;
  const ModelConfig mistral = Parse(json).value();
  EXPECT_EQ(mistral.kv_heads, 8);
  EXPECT_EQ(mistral.max_positions, 131072);
  EXPECT_EQ(mistral.windows, (std::vector<int64_t>{4096, 4096})) << "absent is not null";
  EXPECT_EQ(Parse(With(Mistral(), {{"sliding_window", nullptr}}))->windows, (std::vector<int64_t>{0, 0}));
}

TEST(ConfigTest, QwensDefaultsAreTheirOwn) {
  const ModelConfig qwen2 = Parse(Qwen(2)).value();
  EXPECT_EQ(qwen2.architecture, "Qwen2ForCausalLM");
  EXPECT_EQ(qwen2.head_dim, 16);
  EXPECT_EQ(qwen2.max_positions, 32768);
  EXPECT_TRUE(qwen2.qkv_bias);
  EXPECT_FALSE(qwen2.o_bias);
  EXPECT_FALSE(qwen2.head_norm);
  EXPECT_EQ(qwen2.windows, (std::vector<int64_t>{0, 0}));
  const ModelConfig qwen3 = Parse(Qwen(3)).value();
  EXPECT_EQ(qwen3.head_dim, 128);
  EXPECT_FALSE(qwen3.qkv_bias);
  EXPECT_TRUE(qwen3.head_norm);
  EXPECT_TRUE(Parse(With(Qwen(3), {{"attention_bias", true}}))->o_bias);
  Json json = Qwen(2);
  json["hidden_size"] = 128;
  json["num_attention_heads"] = 64;
  json.erase("num_key_value_heads");
  EXPECT_EQ(Parse(json)->kv_heads, 32);
}

TEST(ConfigTest, QwensWindowsAreOfTheLayersThatAreNamed) {
  const auto windows = [](const char* patch) { return Parse(With(Qwen(2), Json::parse(patch)))->windows; };
  using Windows = std::vector<int64_t>;
  EXPECT_EQ(windows(R"({"use_sliding_window": false, "sliding_window": 7, "max_window_layers": 0})"), (Windows{0, 0}));
  EXPECT_EQ(windows(R"({"use_sliding_window": true, "sliding_window": 7, "max_window_layers": 1})"), (Windows{0, 7}));
  EXPECT_EQ(windows(R"({"use_sliding_window": true, "max_window_layers": 0})"), (Windows{4096, 4096}));
  EXPECT_EQ(windows(R"({"use_sliding_window": true, "sliding_window": 7})"), (Windows{0, 0})) << "from layer 28 on";
  EXPECT_EQ(windows(R"({"use_sliding_window": true, "sliding_window": 7,
                        "layer_types": ["sliding_attention", "full_attention"]})"),
            (Windows{7, 0}));
  for (const char* bad : {R"({"layer_types": ["full_attention", "sliding_attention"]})",
                          R"({"use_sliding_window": true, "layer_types": ["full_attention", "chunked"]})",
                          R"({"use_sliding_window": true, "layer_types": ["full_attention"]})",
                          R"({"use_sliding_window": true, "layer_types": "full_attention"})"}) {
    EXPECT_TRUE(FailsNaming(Parse(With(Qwen(2), Json::parse(bad))).status(), {"layer_types", "2 times"})) << bad;
  }
}

TEST(ConfigTest, SpellingsBeforeAndFromVersion5MeanTheSame) {
  const Json old = With(Llama(), Json::parse(R"({"torch_dtype": "bfloat16", "rope_theta": 500000.0, "rope_scaling":
      {"type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
       "original_max_position_embeddings": 8192}})"));
  const Json fresh = With(Llama(), Json::parse(R"({"dtype": "bfloat16", "rope_parameters":
      {"rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
       "original_max_position_embeddings": 8192}, "layer_types": ["full_attention", "full_attention"]})"));
  const ModelConfig parsed = Parse(old).value();
  EXPECT_EQ(parsed.rope.kind, RopeKind::kLlama3);
  EXPECT_EQ(parsed.rope.theta, 500000.0);
  EXPECT_EQ(parsed.rope.original_max_positions, 8192);
  EXPECT_EQ(parsed.CanonicalLines(), Parse(fresh)->CanonicalLines());
}

TEST(ConfigTest, Phi3sProjectionsAreFused) {
  Json json = Llama();
  json["architectures"] = {"Phi3ForCausalLM"};
  json["model_type"] = "phi3";
  const ModelConfig phi = Parse(json).value();
  EXPECT_TRUE(phi.fused_projections);
  EXPECT_EQ(phi.rms_norm_eps, 1e-5);
  EXPECT_EQ(phi.max_positions, 4096);
  EXPECT_EQ(phi.windows, (std::vector<int64_t>{0, 0}));
  EXPECT_EQ(Parse(With(json, {{"sliding_window", 7}}))->windows, (std::vector<int64_t>{7, 7}));
  for (const char* bad : {R"({"mlp_bias": true})", R"({"attention_bias": true})", R"({"lm_head_bias": true})",
                          R"({"full_attn_mod": 2})", R"({"rope_scaling": {"type": "linear", "factor": 2}})"}) {
    EXPECT_TRUE(FailsNaming(Parse(With(json, Json::parse(bad))).status(), {"dir/config.json", "field '"})) << bad;
  }
}

// Which of two places transformers 5 reads.
TEST(ConfigTest, FieldsThatStandTwiceAreReadAsTransformersDoes) {
  const auto parse = [](const char* patch) { return Parse(With(Llama(), Json::parse(patch))).value(); };
  EXPECT_EQ(
      parse(R"({"rope_theta": 1e4, "rope_scaling": {"type": "linear", "factor": 2, "rope_theta": 777}})").rope.theta,
      777);
  const ModelConfig both = parse(R"({"rope_scaling": {"type": "linear", "factor": 2},
      "rope_parameters": {"rope_type": "default", "rope_theta": 555}})");
  EXPECT_EQ(both.rope.kind, RopeKind::kLinear);
  EXPECT_EQ(both.rope.theta, 10000);
  EXPECT_EQ(parse(R"({"rope_scaling": {}, "rope_parameters": {"rope_theta": 555}})").rope.theta, 555);
  EXPECT_EQ(parse(R"({"original_max_position_embeddings": 16, "rope_scaling": {"rope_type": "llama3", "factor": 8,
      "low_freq_factor": 1, "high_freq_factor": 4, "original_max_position_embeddings": 64}})")
                .rope.original_max_positions,
            16);
  EXPECT_EQ(Parse(With(Mistral(), {{"sliding_window", 7}, {"use_sliding_window", false}}))->windows,
            (std::vector<int64_t>{7, 7}));
}

TEST(ConfigTest, CanonicalLinesTellNumericsApartAndNothingElse) {
  const std::string lines = Parse(Llama())->CanonicalLines();
  for (const char* same : {R"({"dtype": "bfloat16"})", R"({"eos_token_id": 5})", R"({"use_cache": false})",
                           R"({"rms_norm_eps": 1e-6})", R"({"num_key_value_heads": 4})", R"({"rope_scaling": null})"}) {
    EXPECT_EQ(Parse(With(Llama(), Json::parse(same)))->CanonicalLines(), lines) << same;
  }
  for (const char* other : {R"({"rms_norm_eps": 1e-5})", R"({"rope_theta": 10001.0})", R"({"num_key_value_heads": 2})",
                            R"({"tie_word_embeddings": true})", R"({"head_dim": 32})", R"({"mlp_bias": true})",
                            R"({"rope_scaling": {"type": "linear", "factor": 2.0}})",
                            R"({"rope_scaling": {"type": "dynamic", "factor": 2.0}})"}) {
    EXPECT_NE(Parse(With(Llama(), Json::parse(other)))->CanonicalLines(), lines) << other;
  }
}

struct BadConfig {
  bool mistral;
  const char* patch;
  std::vector<std::string> parts;  // of the message
};

TEST(ConfigTest, BadFieldsAreRefusedNamingFileFieldAndExpectation) {
  const std::vector<BadConfig> cases = {
      {false, R"({"architectures": ["FalconForCausalLM"]})", {"architectures", "Falcon", "LlamaForCausalLM"}},
      {false, R"({"architectures": ["Qwen2ForCausalLM"]})", {"model_type", "llama", "that of Qwen2ForCausalLM"}},
      {false, R"({"architectures": ["GemmaForCausalLM"], "model_type": "gemma"})", {"GemmaForCausalLM"}},
      {false, R"({"architectures": []})", {"architectures", "one architecture"}},
      {false, R"({"architectures": "LlamaForCausalLM"})", {"architectures", "list"}},
      {false, R"({"model_type": "mistral"})", {"model_type", "LlamaForCausalLM"}},
      {false,
       R"({"architectures": null, "model_type": "gpt2"})",
       {"model_type", "gpt2", "llama, mistral, phi3, qwen2"}},
      {false, R"({"architectures": null, "model_type": null})", {"model_type", "missing"}},
      {false, R"({"model_type": 3})", {"model_type", "a string"}},
      {false, R"({"vocab_size": null})", {"vocab_size", "missing"}},
      {false, R"({"vocab_size": 0})", {"vocab_size", "0", "from 1"}},
      {false, R"({"vocab_size": -5})", {"vocab_size", "-5"}},
      {false, R"({"vocab_size": 18446744073709551615})", {"vocab_size", "18446744073709551615"}},
      {false, R"({"vocab_size": "100"})", {"vocab_size", "integer"}},
      {false, R"({"hidden_size": 64.5})", {"hidden_size", "64.5"}},
      {false, R"({"hidden_size": 66})", {"hidden_size", "multiple of num_attention_heads = 4"}},
      {false, R"({"hidden_size": null})", {"hidden_size", "missing"}},
      {false, R"({"intermediate_size": null})", {"intermediate_size", "missing"}},
      {false, R"({"num_hidden_layers": 257})", {"num_hidden_layers", "257", "256"}},
      {false, R"({"num_hidden_layers": null})", {"num_hidden_layers", "missing"}},
      {false, R"({"num_attention_heads": 0})", {"num_attention_heads", "0"}},
      {false, R"({"num_key_value_heads": 3})", {"num_key_value_heads", "divisor", "4"}},
      {false, R"({"head_dim": 15})", {"head_dim", "15", "even"}},
      {false, R"({"head_dim": 0})", {"head_dim"}},
      {false, R"({"max_position_embeddings": 0})", {"max_position_embeddings"}},
      {false, R"({"rms_norm_eps": "small"})", {"rms_norm_eps", "number"}},
      {false, R"({"rms_norm_eps": -1e-6})", {"rms_norm_eps", "non-negative"}},
      {false, R"({"hidden_act": "gelu"})", {"hidden_act", "gelu", "silu"}},
      {false, R"({"tie_word_embeddings": 1})", {"tie_word_embeddings", "true or false"}},
      {false, R"({"attention_bias": "yes"})", {"attention_bias", "true or false"}},
      {true, R"({"attention_bias": true})", {"attention_bias", "false for Mistral"}},
      {true, R"({"mlp_bias": true})", {"mlp_bias", "false for Mistral"}},
      {false, R"({"dtype": "float8"})", {"dtype", "float8", "bfloat16"}},
      {false, R"({"torch_dtype": "int8"})", {"torch_dtype", "int8"}},
      {false, R"({"quantization_config": {"bits": 4}})", {"quantization_config", "not supported"}},
      {false, R"({"final_logit_softcapping": 30.0})", {"final_logit_softcapping"}},
      {false, R"({"attn_logit_softcapping": 30.0})", {"attn_logit_softcapping"}},
      {false, R"({"logits_scaling": 2.0})", {"logits_scaling"}},
      {false, R"({"residual_multiplier": 0.5})", {"residual_multiplier"}},
      {false, R"({"use_qk_norm": true})", {"use_qk_norm"}},
      {false, R"({"num_local_experts": 8})", {"num_local_experts"}},
      {false, R"({"sliding_window": 128})", {"sliding_window", "128", "null for Llama"}},
      {true, R"({"sliding_window": 0})", {"sliding_window", "0"}},
      {true,
       R"({"sliding_window": 64, "layer_types": ["sliding_attention", "full_attention"]})",
       {"layer_types", "sliding_attention"}},
      {false, R"({"layer_types": ["full_attention"]})", {"layer_types", "2 times"}},
      {false, R"({"layer_types": "full_attention"})", {"layer_types"}},
      {false, R"({"layer_types": ["full_attention", "chunked_attention"]})", {"layer_types", "chunked_attention"}},
  };
  for (const BadConfig& bad : cases) {
    const auto config = Parse(With(bad.mistral ? Mistral() : Llama(), Json::parse(bad.patch)));
    EXPECT_EQ(config.status().code(), absl::StatusCode::kInvalidArgument) << bad.patch;
    std::vector<std::string> parts = bad.parts;
    parts.emplace_back("dir/config.json");
    EXPECT_TRUE(FailsNaming(config.status(), parts)) << bad.patch;
  }
}

TEST(ConfigTest, BrokenFilesAreRefusedNamingThem) {
  EXPECT_TRUE(FailsNaming(ParseModelConfig("{\"vocab_size\": ", "x/config.json").status(), {"x/config.json", "JSON"}));
  EXPECT_TRUE(FailsNaming(ParseModelConfig("[]", "x/config.json").status(), {"x/config.json", "object"}));
  EXPECT_TRUE(FailsNaming(ParseModelConfig("", "x/config.json").status(), {"x/config.json", "JSON"}));
  const ScratchDir empty;
  const auto missing = LoadModelConfig(empty.path());
  EXPECT_EQ(missing.status().code(), absl::StatusCode::kNotFound);
  EXPECT_TRUE(FailsNaming(missing.status(), {empty / "config.json"}));
}

}  // namespace
}  // namespace droidspeak
