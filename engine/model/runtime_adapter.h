// SPDX-License-Identifier: Apache-2.0
// A LoRA adapter that is not merged: rows of one batch may belong to different adapters of one model.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/statusor.h"
#include "engine/model/model.h"

namespace droidspeak {

class LoraAdapter;
struct Projection;

// Holds both factors of each projection in the model's dtype. Immutable after Load: any number of forwards may use it.
class RuntimeAdapter {
 public:
  // Of `dir`, for `base`, which has no adapter merged. Errors as of Model::Load.
  [[nodiscard]] static absl::StatusOr<std::shared_ptr<const RuntimeAdapter>> Load(const std::string& dir,
                                                                                  std::shared_ptr<const Model> base);

  [[nodiscard]] const std::string& dir() const { return dir_; }
  [[nodiscard]] const Model& base() const { return *base_; }
  [[nodiscard]] int64_t weight_bytes() const;

  // Adds scale (x A^T) B^T to y. x: [rows, in], what is multiplied; y: [rows, count], what it gave in columns
  // [first, first + count) of the product.
  void AddTo(int64_t layer, Product product, const at::Tensor& x, int64_t first, const at::Tensor& y) const;

 private:
  // One projection's part of a product.
  struct Part {
    int64_t first;  // its first column
    Weight a;       // [rank, in]
    at::Tensor b;   // [out, rank], the scale in it
  };
  using Layer = std::vector<std::vector<Part>>;  // by product

  // Of one product of a layer.
  [[nodiscard]] std::vector<Part> PartsOf(const LoraAdapter& adapter, int64_t layer,
                                          const std::vector<Projection>& projections) const;

  RuntimeAdapter(std::string dir, std::shared_ptr<const Model> base) : dir_(std::move(dir)), base_(std::move(base)) {}

  const std::string dir_;
  const std::shared_ptr<const Model> base_;
  std::vector<Layer> layers_;
};

}  // namespace droidspeak
