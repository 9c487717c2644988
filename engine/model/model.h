// SPDX-License-Identifier: Apache-2.0
// A model in memory: its configuration, its weights in the run's dtype with the adapter merged, its rotary embedding.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/model/config.h"
#include "engine/model/dtype.h"
#include "engine/model/rope.h"
#include "engine/model/weight.h"

namespace droidspeak {

// `DIR[+ADAPTER_DIR]` taken apart; `adapter` is empty without one.
struct ModelPath {
  std::string dir;
  std::string adapter;
};
// If `spec` as a whole is a folder it is DIR; otherwise the last '+' separates the adapter. Missing folders are
// refused.
[[nodiscard]] absl::StatusOr<ModelPath> ParseModelPath(const std::string& spec);

// The matrix products of a layer, each by one fused weight.
enum class Product { kQkv, kO, kGateUp, kDown };

struct FusedWeight {
  const Weight* weight;
  const at::Tensor* bias;  // of an undefined tensor: none
};

// One decoder layer. Projections of one input are fused along their outputs: qkv = q, k, v rows; gate_up = gate, up
// rows. Undefined tensors are absent biases.
struct LayerWeights {
  at::Tensor input_norm, post_norm;  // [hidden]
  at::Tensor q_norm, k_norm;         // [head_dim], where the family has them
  Weight qkv;                        // [(heads + 2 kv_heads) head_dim, hidden]
  Weight o;                          // [hidden, heads head_dim]
  Weight gate_up;                    // [2 intermediate, hidden]
  Weight down;                       // [hidden, intermediate]
  at::Tensor qkv_bias, o_bias, gate_up_bias, down_bias;

  [[nodiscard]] FusedWeight Of(Product product) const;
};

// Immutable after Load: any number of threads may run forwards on it.
class Model {
 public:
  // Reads, checks, converts to `dtype`, merges the adapter. Errors name the file, tensor or field and what was
  // expected.
  [[nodiscard]] static absl::StatusOr<std::shared_ptr<const Model>> Load(const std::string& spec, Dtype dtype);

  [[nodiscard]] const ModelPath& path() const { return path_; }
  [[nodiscard]] const ModelConfig& config() const { return config_; }
  [[nodiscard]] Dtype dtype() const { return dtype_; }
  // How a sequence of that reach (rope_config.h) is rotated; one object for all sequences that may share keys. Never
  // null.
  [[nodiscard]] std::shared_ptr<const Rope> RopeFor(int64_t reach) const;
  // The embeddings of tokens, each in the vocabulary: [tokens, hidden].
  [[nodiscard]] at::Tensor Embed(absl::Span<const int64_t> tokens) const;
  [[nodiscard]] const at::Tensor& final_norm() const { return final_norm_; }  // [hidden]
  [[nodiscard]] const Weight& lm_head() const { return lm_head_; }            // [vocab, hidden]
  [[nodiscard]] const LayerWeights& layer(int64_t index) const { return layers_[index]; }
  [[nodiscard]] int64_t weight_bytes() const;

 private:
  friend class ModelLoader;
  Model(ModelPath path, ModelConfig config, Dtype dtype);

  ModelPath path_;
  ModelConfig config_;
  Dtype dtype_;
  std::shared_ptr<const Rope> short_rope_, long_rope_;  // the same where nothing depends on the reach
  at::Tensor embeddings_;                               // [vocab, hidden]; undefined when the head's are the embeddings
  at::Tensor final_norm_;
  Weight lm_head_;
  std::vector<LayerWeights> layers_;
};

}  // namespace droidspeak
