// SPDX-License-Identifier: Apache-2.0
// Mistral, MistralLite, Nemo: no biases, one window for all layers.
#include "common/base/status.h"
#include "engine/model/families/family.h"

namespace droidspeak {
namespace {

absl::Status Read(const JsonFields& fields, ModelConfig& config) {
  RETURN_IF_ERROR(RefuseBiases(fields, "Mistral"));
  // "use_sliding_window" is unknown to Mistral's own code. A window that is absent is its default, one that is null
  // none.
  int64_t window = 4096;
  if (fields.Has("sliding_window")) {
    ASSIGN_OR_RETURN(window, fields.Integer("sliding_window", 0, 1, kLongestWindow));
  }
  return ReadWindow(fields, window, config);
}

}  // namespace

const Family kMistral = {.architecture = "MistralForCausalLM",
                         .model_type = "mistral",
                         .kv_heads = 8,
                         .max_positions = 131072,
                         .read = Read};

}  // namespace droidspeak
