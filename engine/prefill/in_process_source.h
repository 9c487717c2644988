// SPDX-License-Identifier: Apache-2.0
// A context whose tensors the sender left in this process.
#pragma once

#include <memory>
#include <vector>

#include "engine/prefill/capture.h"
#include "engine/prefill/context_source.h"

namespace droidspeak {

// Reads a ContextCache that it doesn't own, which must have all that the plan needs. The first `own_tokens` rows stand
// in the slab already, the receiver's own in all layers. Not thread-safe.
class InProcessSource : public ContextSource {
 public:
  explicit InProcessSource(const ContextCache& cache, int64_t own_tokens = 0);

  absl::Status Begin(const Plan& plan, const ContextTarget& target) override;
  int64_t tokens() const override { return cache_.tokens(); }
  int64_t own_tokens() const override { return own_tokens_; }
  at::Tensor E(int64_t layer, int64_t row, int64_t max_rows) override;
  void Place(int64_t layer) override;
  void PlaceAll() override;

 private:
  const ContextCache& cache_;
  const int64_t own_tokens_;
  ContextTarget target_;
  std::vector<bool> pending_;  // by layer: reused and not placed yet
};

}  // namespace droidspeak
