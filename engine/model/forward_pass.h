// SPDX-License-Identifier: Apache-2.0
// One run of Forward, layer by layer.
#pragma once

#include <cstdint>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/model/attention.h"
#include "engine/model/forward.h"
#include "engine/model/rows.h"
#include "engine/model/runtime_adapter.h"

namespace droidspeak {

// Holds the residual stream of a checked input between layers. On the stack of one thread, which may use libtorch's
// pool; `model`, `slab` and `input` outlive it.
class ForwardPass {
 public:
  ForwardPass(const Model& model, KvSlab& slab, const ForwardInput& input);

  [[nodiscard]] absl::StatusOr<ForwardResult> Run();

 private:
  // The residual stream entering the range.
  void Enter();
  // Adds pending_ to x_, and returns the norm of that times `weight`.
  [[nodiscard]] at::Tensor AddNorm(const at::Tensor& weight);
  // Norms each head of head_dim in the first columns of `count` rows in place; `weight` undefined: the family has none.
  void NormHeads(const Rows& rows, int64_t count, int64_t heads, const at::Tensor& weight) const;
  // x weight^T + bias in columns [first, first + count) of the weight, and what the adapters of the query rows, which x
  // is of, add to that.
  [[nodiscard]] at::Tensor Multiply(int64_t layer, Product product, const at::Tensor& x, int64_t first,
                                    int64_t count) const;
  // All columns.
  [[nodiscard]] at::Tensor Multiply(int64_t layer, Product product, const at::Tensor& x) const;
  // kv: [rows, 2 kv_heads head_dim] from column `first` on. K is normed where the family does so and goes to the slab
  // rotated, V as it is; then the hook is called.
  [[nodiscard]] absl::Status StoreKv(int64_t layer, const at::Tensor& kv, int64_t first);
  // Rotates q in place, after that norm.
  void RotateQ(int64_t layer, const Rows& q);
  // Attention and MLP of the query rows. q: [query rows, heads head_dim] in the first columns.
  void Finish(int64_t layer, const at::Tensor& q);
  [[nodiscard]] absl::Status RunLayer(int64_t layer);
  // From here on only the wanted rows are queries.
  void KeepWanted();
  void MakeRuns();

  // Consecutive query rows of one adapter.
  struct AdapterRun {
    int64_t first, count;
    const RuntimeAdapter* adapter;
  };

  const Model& model_;
  KvSlab& slab_;
  const ForwardInput& input_;
  const int64_t end_layer_;
  const bool kv_only_;  // the last layer ends with its K and V

  std::vector<int64_t> query_rows_;  // indexes into input_.rows of the rows that x_ holds
  // The same, cut where the sequence or the positions break: those of several rows, and those of one.
  std::vector<AttentionRun> runs_, single_rows_;
  std::vector<AdapterRun> adapters_;  // of the query rows that have one
  at::Tensor x_;                      // [query rows, hidden], the residual stream
  at::Tensor pending_;                // what a block adds to x_, kept until the next norm reads both; undefined if none
  bool owns_x_ = false;               // x_ may be written
};

}  // namespace droidspeak
