// SPDX-License-Identifier: Apache-2.0
// `droidspeak-bench random-model`: a Llama checkpoint of any size with random weights, for timing.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "bench/command.h"
#include "common/base/status.h"
#include "engine/model/safetensors.h"

namespace droidspeak::bench {
namespace {

struct Shape {
  int64_t layers = 16;
  int64_t hidden = 1024;
  int64_t heads = 16;
  int64_t kv_heads = 4;
  int64_t intermediate = 2816;
  int64_t vocabulary = 0;  // 0: the tokenizer's model's
  int64_t positions = 8192;
  uint32_t seed = 1;
  std::string out;
  std::string tokenizer;
};

// bf16 bits of normal numbers. Drawing each of some hundred million weights takes longer than using the model; weights
// that repeat in random order time the same.
class BrainNormals {
 public:
  explicit BrainNormals(uint32_t seed) : random_(seed), table_(1 << 16) {
    std::normal_distribution<float> normal;
    for (float& value : table_) value = normal(random_);
  }
  std::vector<uint16_t> Draw(int64_t count, float deviation) {
    std::vector<uint16_t> bits(count);
    for (int64_t i = 0; i < count; i += 4) {
      uint64_t draw = random_();
      for (int64_t j = i; j < std::min(i + 4, count); ++j, draw >>= 16)
        bits[j] = Bits(table_[draw & 0xffff] * deviation);
    }
    return bits;
  }
  static uint16_t Bits(float value) {
    uint32_t word;
    std::memcpy(&word, &value, sizeof word);
    return static_cast<uint16_t>((word + 0x7fff + ((word >> 16) & 1)) >> 16);
  }

 private:
  std::mt19937_64 random_;
  std::vector<float> table_;
};

class CheckpointBuilder {
 public:
  explicit CheckpointBuilder(uint32_t seed) : normals_(seed) {}
  void AddMatrix(const std::string& name, int64_t rows, int64_t columns) {
    Add(name, {rows, columns}, normals_.Draw(rows * columns, 1.0f / std::sqrt(static_cast<float>(columns))));
  }
  void AddOnes(const std::string& name, int64_t size) {
    Add(name, {size}, std::vector<uint16_t>(size, BrainNormals::Bits(1.0f)));
  }
  absl::Status Write(const std::string& path) const { return WriteSafetensors(path, tensors_); }

 private:
  void Add(const std::string& name, std::vector<int64_t> shape, std::vector<uint16_t> bits) {
    data_.push_back(std::move(bits));
    tensors_.push_back({name, "BF16", std::move(shape), std::as_bytes(std::span(data_.back()))});
  }
  BrainNormals normals_;
  std::vector<std::vector<uint16_t>> data_;  // moving a vector keeps its elements where they are
  std::vector<TensorToWrite> tensors_;
};

nlohmann::json ConfigOf(const Shape& shape) {
  return {{"architectures", {"LlamaForCausalLM"}},
          {"model_type", "llama"},
          {"num_hidden_layers", shape.layers},
          {"hidden_size", shape.hidden},
          {"num_attention_heads", shape.heads},
          {"num_key_value_heads", shape.kv_heads},
          {"head_dim", shape.hidden / shape.heads},
          {"intermediate_size", shape.intermediate},
          {"vocab_size", shape.vocabulary},
          {"max_position_embeddings", shape.positions},
          {"rms_norm_eps", 1e-5},
          {"rope_theta", 500000.0},
          {"hidden_act", "silu"},
          {"tie_word_embeddings", false},
          {"torch_dtype", "bfloat16"}};
}

absl::Status WriteWeights(const Shape& shape) {
  CheckpointBuilder builder(shape.seed);
  const int64_t kv = shape.kv_heads * (shape.hidden / shape.heads);
  builder.AddMatrix("model.embed_tokens.weight", shape.vocabulary, shape.hidden);
  for (int64_t layer = 0; layer < shape.layers; ++layer) {
    const std::string prefix = absl::StrCat("model.layers.", layer, ".");
    builder.AddOnes(prefix + "input_layernorm.weight", shape.hidden);
    builder.AddOnes(prefix + "post_attention_layernorm.weight", shape.hidden);
    builder.AddMatrix(prefix + "self_attn.q_proj.weight", shape.hidden, shape.hidden);
    builder.AddMatrix(prefix + "self_attn.k_proj.weight", kv, shape.hidden);
    builder.AddMatrix(prefix + "self_attn.v_proj.weight", kv, shape.hidden);
    builder.AddMatrix(prefix + "self_attn.o_proj.weight", shape.hidden, shape.hidden);
    builder.AddMatrix(prefix + "mlp.gate_proj.weight", shape.intermediate, shape.hidden);
    builder.AddMatrix(prefix + "mlp.up_proj.weight", shape.intermediate, shape.hidden);
    builder.AddMatrix(prefix + "mlp.down_proj.weight", shape.hidden, shape.intermediate);
  }
  builder.AddOnes("model.norm.weight", shape.hidden);
  builder.AddMatrix("lm_head.weight", shape.vocabulary, shape.hidden);
  return builder.Write(shape.out + "/model.safetensors");
}

// The vocabulary size of a checkpoint folder.
absl::StatusOr<int64_t> VocabularyOf(const std::string& folder) {
  std::ifstream file(folder + "/config.json");
  const nlohmann::json config = nlohmann::json::parse(file, nullptr, /*allow_exceptions=*/false);
  if (!config.is_object() || !config.contains("vocab_size") || !config["vocab_size"].is_number_integer()) {
    return absl::InvalidArgumentError(absl::StrCat("--tokenizer ", folder, ": config.json has no vocab_size"));
  }
  return config["vocab_size"].get<int64_t>();
}

absl::Status Generate(Shape shape) {
  std::error_code error;
  std::filesystem::create_directories(shape.out, error);
  if (error) return absl::InternalError(absl::StrCat("--out ", shape.out, ": ", error.message()));
  if (!shape.tokenizer.empty()) {
    ASSIGN_OR_RETURN(shape.vocabulary, VocabularyOf(shape.tokenizer));
    for (const char* name : {"tokenizer.json", "tokenizer_config.json", "generation_config.json"}) {
      const std::filesystem::path from = std::filesystem::path(shape.tokenizer) / name;
      if (!std::filesystem::exists(from)) continue;
      std::filesystem::copy_file(from, std::filesystem::path(shape.out) / name,
                                 std::filesystem::copy_options::overwrite_existing, error);
      if (error) return absl::InternalError(absl::StrCat("copying ", from.string(), ": ", error.message()));
    }
  }
  if (shape.vocabulary <= 0 || shape.hidden % shape.heads != 0 || shape.heads % shape.kv_heads != 0) {
    return absl::InvalidArgumentError(
        "expected --vocabulary or --tokenizer, hidden a multiple of heads, and heads of kv-heads");
  }
  RETURN_IF_ERROR(WriteWeights(shape));
  std::ofstream(shape.out + "/config.json") << ConfigOf(shape).dump(1) << "\n";
  return absl::OkStatus();
}

}  // namespace

Command AddRandomModelCommand(CLI::App& app) {
  CLI::App* const command = app.add_subcommand("random-model", "Write a Llama checkpoint with random bf16 weights");
  Shape* const shape = new Shape;  // lives as long as the program
  command->add_option("--out", shape->out, "Folder to write")->required();
  command->add_option("--layers", shape->layers)->check(CLI::Range(1, 256));
  command->add_option("--hidden", shape->hidden)->check(CLI::Range(16, 1 << 17));
  command->add_option("--heads", shape->heads)->check(CLI::Range(1, 1024));
  command->add_option("--kv-heads", shape->kv_heads)->check(CLI::Range(1, 1024));
  command->add_option("--intermediate", shape->intermediate)->check(CLI::Range(16, 1 << 18));
  command->add_option("--vocabulary", shape->vocabulary)->check(CLI::Range(1, 1 << 20));
  command->add_option("--positions", shape->positions, "Longest prompt")->check(CLI::Range(1, 1 << 24));
  command->add_option("--seed", shape->seed);
  command->add_option("--tokenizer", shape->tokenizer, "Checkpoint folder whose tokenizer and vocabulary size to take");
  return {command, [shape] {
            const absl::Status generated = Generate(*shape);
            if (generated.ok()) return kExitOk;
            std::cerr << "droidspeak-bench random-model: " << generated.message() << "\n";
            return absl::IsInvalidArgument(generated) ? kExitUsage : kExitFailed;
          }};
}

}  // namespace droidspeak::bench
