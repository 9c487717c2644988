// SPDX-License-Identifier: Apache-2.0
#include "tests/engine/prefill/tiny_models.h"

#include <cmath>
#include <cstdlib>
#include <deque>
#include <filesystem>
#include <fstream>
#include <random>
#include <utility>

#include "ATen/Parallel.h"
#include "absl/strings/str_cat.h"
#include "engine/model/safetensors.h"
#include "nlohmann/json.hpp"
#include "tests/support/server_process.h"

namespace droidspeak {
namespace {

void Check(const absl::Status& status) {
  if (status.ok()) return;
  fprintf(stderr, "%s\n", status.ToString().c_str());
  std::abort();
}

// Tensors to write, and their bytes.
class Tensors {
 public:
  void Add(std::string name, std::vector<int64_t> shape, std::vector<float> values) {
    values_.push_back(std::move(values));
    const auto bytes = absl::MakeConstSpan(reinterpret_cast<const std::byte*>(values_.back().data()),
                                           values_.back().size() * sizeof(float));
    tensors_.push_back({std::move(name), "F32", std::move(shape), bytes});
  }
  void Write(const std::string& path) const { Check(WriteSafetensors(path, tensors_)); }

 private:
  std::deque<std::vector<float>> values_;
  std::vector<TensorToWrite> tensors_;
};

// Normal values of a standard deviation, the drift mixed in.
class Weights {
 public:
  explicit Weights(const TinyModel& model) : base_(model.seed), other_(model.drift_seed), drift_(model.drift) {}

  std::vector<float> Matrix(int64_t rows, int64_t columns, double scale) {
    std::vector<float> values(rows * columns);
    for (float& value : values) {
      const double base = normal_(base_), other = normal_(other_);
      value = static_cast<float>(scale * ((1 - drift_) * base + drift_ * other));
    }
    return values;
  }
  std::vector<float> Norm(int64_t size) {
    std::vector<float> values = Matrix(1, size, 0.1);
    for (float& value : values) value += 1.0F;
    return values;
  }

 private:
  std::mt19937_64 base_, other_;
  std::normal_distribution<double> normal_;
  const double drift_;
};

void WriteConfig(const std::string& dir, const TinyModel& model) {
  nlohmann::json config = {{"architectures", {model.window > 0 ? "MistralForCausalLM" : "LlamaForCausalLM"}},
                           {"model_type", model.window > 0 ? "mistral" : "llama"},
                           {"vocab_size", model.vocab},
                           {"hidden_size", model.hidden},
                           {"intermediate_size", model.intermediate},
                           {"num_hidden_layers", model.layers},
                           {"num_attention_heads", model.heads},
                           {"num_key_value_heads", model.kv_heads},
                           {"max_position_embeddings", model.max_positions},
                           {"rms_norm_eps", 1e-5},
                           {"rope_theta", model.rope_theta},
                           {"hidden_act", "silu"},
                           {"tie_word_embeddings", model.tied},
                           {"torch_dtype", "float32"},
                           {"bos_token_id", 1},
                           {"eos_token_id", 2}};
  if (model.window > 0) config["sliding_window"] = model.window;
  if (model.llama3) {
    config["rope_scaling"] = {{"rope_type", "llama3"},
                              {"factor", 8.0},
                              {"low_freq_factor", 1.0},
                              {"high_freq_factor", 4.0},
                              {"original_max_position_embeddings", 64}};
  }
  if (model.dynamic) config["rope_scaling"] = {{"rope_type", "dynamic"}, {"factor", 4.0}};
  if (model.longrope > 0) {
    std::vector<double> close, far;
    for (int pair = 0; pair < model.hidden / model.heads / 2; ++pair) {
      close.push_back(1 + 0.1 * pair);
      far.push_back(2 + 1.5 * pair);
    }
    config["original_max_position_embeddings"] = model.longrope;
    config["rope_scaling"] = {{"rope_type", "longrope"}, {"short_factor", close}, {"long_factor", far}};
  }
  std::ofstream(dir + "/config.json") << config.dump(1);
}

std::string NewFolder(const TemporaryFolder& root, const std::string& kind) {
  static int count = 0;
  std::string dir = absl::StrCat(root.path(), "/", kind, count++);
  std::filesystem::create_directories(dir);
  return dir;
}

const TemporaryFolder& Root() {
  static const TemporaryFolder root;
  return root;
}

std::shared_ptr<const Model> Load(const std::string& spec) {
  at::set_num_threads(1);  // tiny tensors gain nothing from more, and tests run side by side
  absl::StatusOr<std::shared_ptr<const Model>> loaded = Model::Load(spec, Dtype::kFp32);
  Check(loaded.status());
  return *std::move(loaded);
}

}  // namespace

void WriteTinyModel(const std::string& dir, const TinyModel& model) {
  WriteConfig(dir, model);
  Weights weights(model);
  Tensors tensors;
  const auto matrix = [&](const std::string& name, int64_t rows, int64_t columns, double gain) {
    tensors.Add(name, {rows, columns}, weights.Matrix(rows, columns, gain / std::sqrt(static_cast<double>(columns))));
  };
  const int64_t hidden = model.hidden, head_dim = model.hidden / model.heads, kv = model.kv_heads * head_dim;
  tensors.Add("model.embed_tokens.weight", {model.vocab, hidden}, weights.Matrix(model.vocab, hidden, 1.0));
  for (int layer = 0; layer < model.layers; ++layer) {
    const std::string prefix = absl::StrCat("model.layers.", layer, ".");
    tensors.Add(prefix + "input_layernorm.weight", {hidden}, weights.Norm(hidden));
    tensors.Add(prefix + "post_attention_layernorm.weight", {hidden}, weights.Norm(hidden));
    // Queries and keys are large enough for attention to pick rows, so that wrong keys show.
    matrix(prefix + "self_attn.q_proj.weight", hidden, hidden, 2.0);
    matrix(prefix + "self_attn.k_proj.weight", kv, hidden, 2.0);
    matrix(prefix + "self_attn.v_proj.weight", kv, hidden, 1.0);
    matrix(prefix + "self_attn.o_proj.weight", hidden, hidden, 1.0);
    matrix(prefix + "mlp.gate_proj.weight", model.intermediate, hidden, 1.0);
    matrix(prefix + "mlp.up_proj.weight", model.intermediate, hidden, 1.0);
    matrix(prefix + "mlp.down_proj.weight", hidden, model.intermediate, 1.0);
  }
  tensors.Add("model.norm.weight", {hidden}, weights.Norm(hidden));
  if (!model.tied) matrix("lm_head.weight", model.vocab, hidden, 2.0);
  tensors.Write(dir + "/model.safetensors");
}

void WriteTinyAdapter(const std::string& dir, const TinyModel& model, uint64_t seed) {
  constexpr int64_t kRank = 4;
  const nlohmann::json config = {{"peft_type", "LORA"},
                                 {"r", kRank},
                                 {"lora_alpha", 8},
                                 {"bias", "none"},
                                 {"target_modules", {"q_proj", "v_proj", "gate_proj", "down_proj"}}};
  std::ofstream(dir + "/adapter_config.json") << config.dump(1);
  TinyModel source = model;
  source.seed = seed;
  source.drift = 0;
  Weights weights(source);
  Tensors tensors;
  const int64_t hidden = model.hidden, kv = hidden / model.heads * model.kv_heads, wide = model.intermediate;
  const auto pair = [&](const std::string& module, int64_t out, int64_t in) {
    tensors.Add(absl::StrCat("base_model.model.", module, ".lora_A.weight"), {kRank, in},
                weights.Matrix(kRank, in, 0.2));
    tensors.Add(absl::StrCat("base_model.model.", module, ".lora_B.weight"), {out, kRank},
                weights.Matrix(out, kRank, 0.2));
  };
  for (int layer = 0; layer < model.layers; ++layer) {
    const std::string prefix = absl::StrCat("model.layers.", layer, ".");
    pair(prefix + "self_attn.q_proj", hidden, hidden);
    pair(prefix + "self_attn.v_proj", kv, hidden);
    pair(prefix + "mlp.gate_proj", wide, hidden);
    pair(prefix + "mlp.down_proj", hidden, wide);
  }
  tensors.Write(dir + "/adapter_model.safetensors");
}

std::shared_ptr<const Model> LoadTinyModel(const TinyModel& model) {
  const std::string dir = NewFolder(Root(), "model");
  WriteTinyModel(dir, model);
  return Load(dir);
}

std::shared_ptr<const Model> LoadTinyModelWithAdapter(const TinyModel& model, uint64_t adapter_seed) {
  const std::string dir = NewFolder(Root(), "model"), adapter = NewFolder(Root(), "adapter");
  WriteTinyModel(dir, model);
  WriteTinyAdapter(adapter, model, adapter_seed);
  return Load(dir + "+" + adapter);
}

std::shared_ptr<const RuntimeAdapter> LoadTinyAdapter(const std::shared_ptr<const Model>& base, const TinyModel& model,
                                                      uint64_t adapter_seed) {
  const std::string dir = NewFolder(Root(), "adapter");
  WriteTinyAdapter(dir, model, adapter_seed);
  auto adapter = RuntimeAdapter::Load(dir, base);
  Check(adapter.status());
  return *std::move(adapter);
}

std::vector<int32_t> RandomTokens(int64_t count, int vocab, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<int32_t> tokens(count);
  for (int32_t& token : tokens) token = static_cast<int32_t>(random() % vocab);
  return tokens;
}

}  // namespace droidspeak
