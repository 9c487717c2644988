// SPDX-License-Identifier: Apache-2.0
// What a Hugging Face config.json says about a model, checked and with every default written out.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/model/rope_config.h"

namespace droidspeak {

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
  int64_t max_positions = 0;  // the longest sequence the model was made for, in tokens; its RoPE's scaling counts
  double rms_norm_eps = 1e-6;
  bool tied_embeddings = false;
  bool qkv_bias = false;
  bool o_bias = false;
  bool mlp_bias = false;
  bool head_norm = false;          // of each head of q and k, before its rotation
  bool fused_projections = false;  // as stored: "qkv_proj" and "gate_up_proj"
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
