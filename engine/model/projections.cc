// SPDX-License-Identifier: Apache-2.0
#include "engine/model/projections.h"

namespace droidspeak {

LayerProjections ProjectionsOf(const ModelConfig& config) {
  const int64_t q = config.heads * config.head_dim, kv = config.kv_heads * config.head_dim;
  const int64_t hidden = config.hidden_size, wide = config.intermediate_size;
  LayerProjections layer{.o = {{"self_attn.o_proj", hidden, q}}, .down = {{"mlp.down_proj", hidden, wide}}};
  if (config.fused_projections) {
    layer.qkv = {{"self_attn.qkv_proj", q + 2 * kv, hidden}};
    layer.gate_up = {{"mlp.gate_up_proj", 2 * wide, hidden}};
  } else {
    layer.qkv = {{"self_attn.q_proj", q, hidden}, {"self_attn.k_proj", kv, hidden}, {"self_attn.v_proj", kv, hidden}};
    layer.gate_up = {{"mlp.gate_proj", wide, hidden}, {"mlp.up_proj", wide, hidden}};
  }
  return layer;
}

std::vector<Projection> AllProjections(const ModelConfig& config) {
  const LayerProjections layer = ProjectionsOf(config);
  std::vector<Projection> all;
  for (const auto* group : {&layer.qkv, &layer.o, &layer.gate_up, &layer.down}) {
    all.insert(all.end(), group->begin(), group->end());
  }
  return all;
}

}  // namespace droidspeak
