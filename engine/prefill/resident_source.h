// SPDX-License-Identifier: Apache-2.0
// A context that stands in the slab already.
#pragma once

#include <cstdint>

#include "engine/prefill/context_source.h"

namespace droidspeak {

// The first `rows` rows of the sequence are in its slots, the model's own, exact in all layers; 0: nothing to reuse.
class ResidentSource : public ContextSource {
 public:
  explicit ResidentSource(int64_t rows) : rows_(rows) {}

  absl::Status Begin(const Plan&, const ContextTarget&) override { return absl::OkStatus(); }
  int64_t tokens() const override { return rows_; }
  int64_t own_tokens() const override { return rows_; }
  at::Tensor E(int64_t, int64_t, int64_t) override { return {}; }

 private:
  const int64_t rows_;
};

}  // namespace droidspeak
