// SPDX-License-Identifier: Apache-2.0
// The linear projections of a layer, as checkpoints and adapters name them.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/model/config.h"

namespace droidspeak {

struct Projection {
  const char* module;  // "self_attn.q_proj"
  int64_t out;
  int64_t in;
};

// Those of one input stand together, in the order of their rows in the engine's fused weights.
struct LayerProjections {
  std::vector<Projection> qkv, o, gate_up, down;
};

[[nodiscard]] LayerProjections ProjectionsOf(const ModelConfig& config);
// The same as one list.
[[nodiscard]] std::vector<Projection> AllProjections(const ModelConfig& config);

}  // namespace droidspeak
