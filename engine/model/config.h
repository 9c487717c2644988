// SPDX-License-Identifier: Apache-2.0
// What a Hugging Face config.json says about a model, checked and with every default written out.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace droidspeak {

enum class RopeKind { kDefault, kLinear, kLlama3 };

// Rotary embedding as config.json gives it; fields that a kind does not use keep their defaults.
struct RopeConfig {
  RopeKind kind = RopeKind::kDefault;
  double theta = 10000.0;
  double factor = 1.0;                 // linear, llama3
  double low_freq_factor = 1.0;        // llama3
  double high_freq_factor = 4.0;       // llama3
  int64_t original_max_positions = 0;  // llama3
};

// A decoder of one of the families (engine/model/families). Plain data; LoadModelConfig checks it.
struct ModelConfig {
  std::string architecture;  // as transformers names it: "LlamaForCausalLM"
  int64_t vocab_size = 0;
  int64_t hidden_size = 0;
  int64_t intermediate_size = 0;
  int64_t layers = 0;
  int64_t heads = 0;
  int64_t kv_heads = 0;
  int64_t head_dim = 0;
  int64_t max_positions = 0;  // the longest sequence the model was made for, in tokens
  double rms_norm_eps = 1e-6;
  bool tied_embeddings = false;
  bool qkv_bias = false;
  bool o_bias = false;
  bool mlp_bias = false;
  bool head_norm = false;  // of each head of q and k, before its rotation
  RopeConfig rope;
  std::vector<int64_t> windows;  // per layer: keys a row sees, its own included; 0 = all

  // The closed list of lines "key=value\n" that enters the model digest (docs/data-model.md).
  [[nodiscard]] std::string CanonicalLines() const;
};

// Reads DIR/config.json. Accepts the spellings of transformers before and from version 5. Unknown architectures, RoPE
// types and fields that would change numerics in a way not built here are refused by name.
[[nodiscard]] absl::StatusOr<ModelConfig> LoadModelConfig(const std::string& dir);

// The same from the text of a config.json; `source` names it in messages.
[[nodiscard]] absl::StatusOr<ModelConfig> ParseModelConfig(std::string_view json, std::string_view source);

}  // namespace droidspeak
