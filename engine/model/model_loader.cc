// SPDX-License-Identifier: Apache-2.0
#include "engine/model/model_loader.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>

#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/status.h"
#include "engine/model/torch_types.h"
#include "engine/model/weight_reader.h"

namespace droidspeak {

absl::StatusOr<at::Tensor> ModelLoader::View(const std::string& name, const std::vector<int64_t>& shape) {
  used_.insert(name);
  return ViewWeight(checkpoint_, model_.path_.dir, name, shape);
}

void ModelLoader::Release(const std::string& name) {
  ReleasePages(checkpoint_.tensors().at(name));
}

absl::StatusOr<at::Tensor> ModelLoader::LoadTensor(const std::string& name, const std::vector<int64_t>& shape) {
  ASSIGN_OR_RETURN(const at::Tensor view, View(name, shape));
  at::Tensor copy = view.to(ScalarType(model_.dtype_), /*non_blocking=*/false, /*copy=*/true);
  Release(name);
  return copy;
}

absl::StatusOr<Weight> ModelLoader::LoadWeight(const std::string& name, const std::vector<int64_t>& shape) {
  ASSIGN_OR_RETURN(const at::Tensor plain, LoadTensor(name, shape));
  return Weight(plain);
}

absl::Status ModelLoader::LoadFused(int64_t layer, const std::vector<Projection>& parts, bool bias, Weight& weight,
                                    at::Tensor& bias_out) {
  int64_t rows = 0;
  std::vector<at::Tensor> views;  // all of them before memory is taken for what config.json says
  for (const Projection& part : parts) {
    ASSIGN_OR_RETURN(at::Tensor view,
                     View(absl::StrCat("model.layers.", layer, ".", part.module, ".weight"), {part.out, part.in}));
    views.push_back(std::move(view));
    rows += part.out;
  }
  const at::ScalarType type = ScalarType(model_.dtype_);
  const at::Tensor fused = at::empty({rows, parts[0].in}, type);
  if (bias) bias_out = at::empty({rows}, type);
  int64_t first = 0;
  for (size_t i = 0; i < parts.size(); ++i) {
    const Projection& part = parts[i];
    const std::string module = absl::StrCat("model.layers.", layer, ".", part.module);
    at::Tensor stored = std::move(views[i]);
    if (const at::Tensor delta = adapter_ ? adapter_->Delta(module) : at::Tensor(); delta.defined()) {
      stored = stored.to(at::kFloat) + delta;
    }
    fused.narrow(0, first, part.out).copy_(stored);
    Release(module + ".weight");
    if (bias) {
      ASSIGN_OR_RETURN(const at::Tensor stored_bias, View(module + ".bias", {part.out}));
      bias_out.narrow(0, first, part.out).copy_(stored_bias);
    }
    first += part.out;
  }
  weight = Weight(fused);
  return absl::OkStatus();
}

absl::Status ModelLoader::LoadLayer(int64_t layer) {
  const ModelConfig& config = model_.config_;
  const LayerProjections parts = ProjectionsOf(config);
  const int64_t hidden = config.hidden_size;
  LayerWeights& weights = model_.layers_[layer];
  const std::string prefix = absl::StrCat("model.layers.", layer, ".");
  ASSIGN_OR_RETURN(weights.input_norm, LoadTensor(prefix + "input_layernorm.weight", {hidden}));
  ASSIGN_OR_RETURN(weights.post_norm, LoadTensor(prefix + "post_attention_layernorm.weight", {hidden}));
  RETURN_IF_ERROR(LoadFused(layer, parts.qkv, config.qkv_bias, weights.qkv, weights.qkv_bias));
  if (config.head_norm) {
    ASSIGN_OR_RETURN(weights.q_norm, LoadTensor(prefix + "self_attn.q_norm.weight", {config.head_dim}));
    ASSIGN_OR_RETURN(weights.k_norm, LoadTensor(prefix + "self_attn.k_norm.weight", {config.head_dim}));
  }
  RETURN_IF_ERROR(LoadFused(layer, parts.o, config.o_bias, weights.o, weights.o_bias));
  RETURN_IF_ERROR(LoadFused(layer, parts.gate_up, config.mlp_bias, weights.gate_up, weights.gate_up_bias));
  return LoadFused(layer, parts.down, config.mlp_bias, weights.down, weights.down_bias);
}

// transformers, too, takes a head that a tied checkpoint stores beside other embeddings.
bool ModelLoader::StoredHeadDiffers() const {
  const auto head = checkpoint_.tensors().find("lm_head.weight");
  const auto embeddings = checkpoint_.tensors().find("model.embed_tokens.weight");
  if (head == checkpoint_.tensors().end() || embeddings == checkpoint_.tensors().end()) return false;
  const StoredTensor& a = head->second;
  const StoredTensor& b = embeddings->second;
  return a.dtype != b.dtype || a.shape != b.shape || a.bytes != b.bytes;
}

absl::Status ModelLoader::CheckAllUsed() const {
  for (const auto& [name, tensor] : checkpoint_.tensors()) {
    if (used_.contains(name) || absl::EndsWith(name, "rotary_emb.inv_freq")) continue;  // old files keep a derived one
    if (name == "lm_head.weight") continue;  // tied: a copy of the embeddings
    return absl::InvalidArgumentError(
        absl::StrCat(model_.path_.dir, ": tensor '", name, "' is not part of the model that config.json describes"));
  }
  return absl::OkStatus();
}

absl::Status ModelLoader::Load() {
  const ModelConfig& config = model_.config_;
  const std::vector<int64_t> shape = {config.vocab_size, config.hidden_size};
  constexpr char kEmbeddings[] = "model.embed_tokens.weight";
  if (config.tied_embeddings && !StoredHeadDiffers()) {
    ASSIGN_OR_RETURN(model_.lm_head_, LoadWeight(kEmbeddings, shape));
  } else {
    ASSIGN_OR_RETURN(model_.embeddings_, LoadTensor(kEmbeddings, shape));
    ASSIGN_OR_RETURN(model_.lm_head_, LoadWeight("lm_head.weight", shape));
  }
  ASSIGN_OR_RETURN(model_.final_norm_, LoadTensor("model.norm.weight", {config.hidden_size}));
  model_.layers_.resize(config.layers);
  for (int64_t layer = 0; layer < config.layers; ++layer) RETURN_IF_ERROR(LoadLayer(layer));
  return CheckAllUsed();
}

}  // namespace droidspeak
