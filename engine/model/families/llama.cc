// SPDX-License-Identifier: Apache-2.0
// Llama 1 to 3.3, and whatever was trained from them: no windows, biases where the checkpoint asks for them.
#include "common/base/status.h"
#include "engine/model/families/family.h"

namespace droidspeak {
namespace {

absl::Status Read(const JsonFields& fields, ModelConfig& config) {
  ASSIGN_OR_RETURN(config.qkv_bias, fields.Boolean("attention_bias", false));
  config.o_bias = config.qkv_bias;
  ASSIGN_OR_RETURN(config.mlp_bias, fields.Boolean("mlp_bias", false));
  ASSIGN_OR_RETURN(const bool used, fields.Boolean("use_sliding_window", true));
  if (used && fields.Find("sliding_window") != nullptr) return fields.Unexpected("sliding_window", "null for Llama");
  return ReadWindow(fields, 0, config);
}

}  // namespace

const Family kLlama = {.architecture = "LlamaForCausalLM", .model_type = "llama", .max_positions = 2048, .read = Read};

}  // namespace droidspeak
