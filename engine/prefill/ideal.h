// SPDX-License-Identifier: Apache-2.0
// How long a plan would take if fetching cost nothing: the yardstick of docs/partial-prefill.md, "Time".
#pragma once

#include "ATen/core/Tensor.h"
#include "engine/prefill/context_source.h"

namespace droidspeak {

// A context that is all there and needs no placing: E is noise, KV is whatever stands in the slab. A prefill from it
// takes the time of its pieces (repair of each run, suffix) on this engine; its logits mean nothing. Used by one
// thread.
class IdealSource : public ContextSource {
 public:
  IdealSource(int64_t tokens, int64_t hidden, Dtype dtype);

  absl::Status Begin(const Plan&, const ContextTarget&) override { return absl::OkStatus(); }
  int64_t tokens() const override { return tokens_; }
  int64_t own_tokens() const override { return 0; }
  at::Tensor E(int64_t layer, int64_t row, int64_t max_rows) override;

 private:
  const int64_t tokens_;
  const at::Tensor noise_;
};

}  // namespace droidspeak
