// SPDX-License-Identifier: Apache-2.0
// Qwen3: each head of q and k is normalized before its rotation; heads have a size of their own.
#include "common/base/status.h"
#include "engine/model/families/family.h"

namespace droidspeak {
namespace {

absl::Status Read(const JsonFields& fields, ModelConfig& config) {
  config.head_norm = true;
  ASSIGN_OR_RETURN(config.qkv_bias, fields.Boolean("attention_bias", false));
  config.o_bias = config.qkv_bias;
  return ReadWindowOfLaterLayers(fields, config);
}

}  // namespace

const Family kQwen3 = {.architecture = "Qwen3ForCausalLM",
                       .model_type = "qwen3",
                       .kv_heads = 32,
                       .head_dim = 128,
                       .max_positions = 32768,
                       .read = Read};

}  // namespace droidspeak
