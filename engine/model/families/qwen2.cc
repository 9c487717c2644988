// SPDX-License-Identifier: Apache-2.0
// Qwen2 and Qwen2.5: q, k and v have biases and o has none; the later layers may have windows.
#include "common/base/status.h"
#include "engine/model/families/family.h"

namespace droidspeak {
namespace {

absl::Status Read(const JsonFields& fields, ModelConfig& config) {
  config.qkv_bias = true;  // whatever "attention_bias" says: it is unknown to Qwen2's own code
  return ReadWindowOfLaterLayers(fields, config);
}

}  // namespace

const Family kQwen2 = {
    .architecture = "Qwen2ForCausalLM", .model_type = "qwen2", .kv_heads = 32, .max_positions = 32768, .read = Read};

}  // namespace droidspeak
