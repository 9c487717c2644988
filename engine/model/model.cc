// SPDX-License-Identifier: Apache-2.0
#include "engine/model/model.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/tensor.h>

#include <filesystem>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/base/status.h"
#include "engine/model/model_loader.h"
#include "engine/model/torch_types.h"

namespace droidspeak {
namespace {

bool IsFolder(const std::string& path) {
  std::error_code ignored;
  return std::filesystem::is_directory(path, ignored);
}

}  // namespace

absl::StatusOr<ModelPath> ParseModelPath(const std::string& spec) {
  if (IsFolder(spec)) return ModelPath{.dir = spec};
  size_t plus = spec.rfind('+');
  for (size_t at = spec.find('+'); at < plus; at = spec.find('+', at + 1)) {  // folders may have a + in their names
    if (IsFolder(spec.substr(0, at)) && IsFolder(spec.substr(at + 1))) plus = at;
  }
  ModelPath path{.dir = spec.substr(0, plus)};
  if (!IsFolder(path.dir))
    return absl::NotFoundError(absl::StrCat("model '", spec, "': '", path.dir, "' is not a folder"));
  path.adapter = spec.substr(plus + 1);
  if (!IsFolder(path.adapter)) {
    return absl::NotFoundError(absl::StrCat("model '", spec, "': adapter '", path.adapter, "' is not a folder"));
  }
  return path;
}

FusedWeight LayerWeights::Of(Product product) const {
  switch (product) {
    case Product::kQkv:
      return {.weight = &qkv, .bias = &qkv_bias};
    case Product::kO:
      return {.weight = &o, .bias = &o_bias};
    case Product::kGateUp:
      return {.weight = &gate_up, .bias = &gate_up_bias};
    case Product::kDown:
      break;
  }
  return {.weight = &down, .bias = &down_bias};
}

Model::Model(ModelPath path, ModelConfig config, Dtype dtype)
    : path_(std::move(path)), config_(std::move(config)), dtype_(dtype) {
  const auto make = [this](int64_t reach) {
    return std::make_shared<const Rope>(config_.rope, config_.head_dim, config_.max_positions, reach);
  };
  short_rope_ = make(1);
  long_rope_ = config_.rope.kind == RopeKind::kLongrope ? make(config_.rope.original_max_positions + 1) : short_rope_;
}

std::shared_ptr<const Rope> Model::RopeFor(int64_t reach) const {
  if (!IsSharable(config_.rope, reach)) {
    return std::make_shared<const Rope>(config_.rope, config_.head_dim, config_.max_positions, reach);
  }
  return RegimeOf(config_.rope, reach) == Regime::kLong ? long_rope_ : short_rope_;
}

absl::StatusOr<std::shared_ptr<const Model>> Model::Load(const std::string& spec, Dtype dtype) {
  ASSIGN_OR_RETURN(ModelPath path, ParseModelPath(spec));
  return WithoutExceptions(absl::StrCat("loading model '", spec, "'"),
                           [&]() -> absl::StatusOr<std::shared_ptr<const Model>> {
                             const at::NoGradGuard no_grad;
                             ASSIGN_OR_RETURN(ModelConfig config, LoadModelConfig(path.dir));
                             std::unique_ptr<LoraAdapter> adapter;
                             if (!path.adapter.empty()) {
                               ASSIGN_OR_RETURN(adapter, LoraAdapter::Load(path.adapter, config));
                             }
                             ASSIGN_OR_RETURN(Checkpoint checkpoint, Checkpoint::Open(path.dir));
                             std::shared_ptr<Model> model(new Model(std::move(path), std::move(config), dtype));
                             RETURN_IF_ERROR(ModelLoader(*model, std::move(checkpoint), std::move(adapter)).Load());
                             return model;
                           });
}

at::Tensor Model::Embed(absl::Span<const int64_t> tokens) const {
  if (!embeddings_.defined()) return lm_head_.Rows(tokens);
  return embeddings_.index_select(0, at::tensor(at::IntArrayRef(tokens.data(), tokens.size()), at::kLong));
}

int64_t Model::weight_bytes() const {
  int64_t bytes = 0;
  const auto add = [&bytes](const at::Tensor& tensor) {
    bytes += tensor.defined() ? static_cast<int64_t>(tensor.nbytes()) : 0;
  };
  add(embeddings_);
  add(final_norm_);
  add(lm_head_.memory());
  for (const LayerWeights& layer : layers_) {
    for (const at::Tensor* tensor : {&layer.input_norm, &layer.post_norm, &layer.q_norm, &layer.k_norm, &layer.qkv_bias,
                                     &layer.o_bias, &layer.gate_up_bias, &layer.down_bias}) {
      add(*tensor);
    }
    for (const Weight* weight : {&layer.qkv, &layer.o, &layer.gate_up, &layer.down}) add(weight->memory());
  }
  return bytes;
}

}  // namespace droidspeak
