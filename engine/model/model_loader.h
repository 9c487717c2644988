// SPDX-License-Identifier: Apache-2.0
// Fills a Model from a checkpoint: every tensor checked by name, shape and dtype, adapters merged, projections fused.
#pragma once

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/model/lora.h"
#include "engine/model/model.h"
#include "engine/model/projections.h"
#include "engine/model/safetensors.h"

namespace droidspeak {

// Lives for one Load on one thread; holds the checkpoint mapped meanwhile.
class ModelLoader {
 public:
  ModelLoader(Model& model, Checkpoint checkpoint, std::unique_ptr<LoraAdapter> adapter)
      : model_(model), checkpoint_(std::move(checkpoint)), adapter_(std::move(adapter)) {}

  [[nodiscard]] absl::Status Load();

 private:
  [[nodiscard]] absl::Status LoadLayer(int64_t layer);
  // [sum of outs, in], the parts under each other; with `bias` also their biases.
  [[nodiscard]] absl::Status LoadFused(int64_t layer, const std::vector<Projection>& parts, bool bias, Weight& weight,
                                       at::Tensor& bias_out);
  // The tensor in the run's dtype, in memory of its own.
  [[nodiscard]] absl::StatusOr<at::Tensor> LoadTensor(const std::string& name, const std::vector<int64_t>& shape);
  // The same as a weight of products.
  [[nodiscard]] absl::StatusOr<Weight> LoadWeight(const std::string& name, const std::vector<int64_t>& shape);
  [[nodiscard]] absl::StatusOr<at::Tensor> View(const std::string& name, const std::vector<int64_t>& shape);
  // After the last use of a View of `name`.
  void Release(const std::string& name);
  [[nodiscard]] bool StoredHeadDiffers() const;
  // Tensors that nothing read would have changed the model elsewhere: refused.
  [[nodiscard]] absl::Status CheckAllUsed() const;

  Model& model_;
  Checkpoint checkpoint_;
  std::unique_ptr<LoraAdapter> adapter_;  // null without one
  std::set<std::string> used_;
};

}  // namespace droidspeak
