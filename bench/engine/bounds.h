// SPDX-License-Identifier: Apache-2.0
// What the engine can't be faster than: the steps of a forward that its speed should come down to.
#pragma once

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "engine/model/kv_slab.h"
#include "engine/model/model.h"

namespace droidspeak::bench {

// Borrows the model. Used by one thread, with libtorch's pool.
class EngineBounds {
 public:
  [[nodiscard]] static absl::StatusOr<EngineBounds> Create(const Model& model, int64_t tokens);

  // Seconds of the matrix products and attention of a prefill of `tokens`, on random numbers, and of nothing between
  // them.
  [[nodiscard]] double Products() const;
  // Seconds to read all weights once, as decoding one token has to.
  [[nodiscard]] double Stream() const;

 private:
  EngineBounds(const Model& model, int64_t tokens, std::unique_ptr<KvSlab> slab)
      : model_(&model), tokens_(tokens), slab_(std::move(slab)) {}

  const Model* model_;
  int64_t tokens_;
  std::unique_ptr<KvSlab> slab_;
};

}  // namespace droidspeak::bench
