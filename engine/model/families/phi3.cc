// SPDX-License-Identifier: Apache-2.0
// Phi-3, Phi-3.5 and Phi-4-mini: one projection for q, k and v and one for gate and up; longrope; a part of each head
// may stay as it is.
#include "common/base/status.h"
#include "engine/model/families/family.h"

namespace droidspeak {
namespace {

absl::Status Read(const JsonFields& fields, ModelConfig& config) {
  config.fused_projections = true;
  RETURN_IF_ERROR(RefuseBiases(fields, "Phi-3"));
  if (config.rope.kind != RopeKind::kDefault && config.rope.kind != RopeKind::kLongrope) {
    return fields.Unexpected(fields.Find("rope_scaling") != nullptr ? "rope_scaling" : "rope_parameters",
                             "of type default or longrope for Phi-3");
  }
  ASSIGN_OR_RETURN(const int64_t window, fields.Integer("sliding_window", 0, 1, kLongestWindow));
  return ReadWindow(fields, window, config);
}

}  // namespace

const Family kPhi3 = {.architecture = "Phi3ForCausalLM",
                      .model_type = "phi3",
                      .max_positions = 4096,
                      .rms_norm_eps = 1e-5,
                      .rope = {.original_max_positions = 4096, .partial = true, .yarn_is_longrope = true},
                      .read = Read};

}  // namespace droidspeak
