// SPDX-License-Identifier: Apache-2.0
// The one forward of the engine: a ragged batch of rows through a range of layers. Prefill, repair of a plan's layers,
// suffix, decode and scoring are all calls of it; a single request is a batch of one.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/model/kv_slab.h"
#include "engine/model/model.h"
#include "engine/model/rows.h"

namespace droidspeak {

class RuntimeAdapter;

// One token of one sequence. Its key and value go to `slot`; it attends to slots slot - position ... slot (fewer under
// a sliding window), so a sequence holds one contiguous run and everything before `position` is there already.
struct Row {
  int32_t token = 0;     // < vocab_size; not read when an E is given
  int32_t position = 0;  // < max_positions
  int32_t sequence = 0;  // any number; rows of one sequence stand together
  int64_t slot = 0;
  const Rope* rope = nullptr;  // of the model, for the sequence's reach; outlives the forward
  // Of the model, one for all rows of a sequence; outlives the forward. Null: the model as it is.
  const RuntimeAdapter* adapter = nullptr;
};

// What a layer's projections gave for the rows of a batch, in the run's dtype. Read only, and valid during the call
// only.
struct LayerKv {
  int64_t layer;
  int64_t rows;
  Rows e;  // of [hidden]: the residual stream entering the layer, before its input norm
  Rows k;  // of [kv_heads, head_dim], pre-RoPE, after bias
  Rows v;  // of [kv_heads, head_dim]

  // Those of one sequence, say.
  [[nodiscard]] LayerKv From(int64_t row, int64_t count) const {
    return {.layer = layer, .rows = count, .e = e.From(row), .k = k.From(row), .v = v.From(row)};
  }
};

// Called on the thread that runs the forward; a status that is not OK ends the forward with it.
class ForwardHooks {
 public:
  virtual ~ForwardHooks() = default;
  // Before anything of `layer` is computed.
  virtual absl::Status BeforeLayer(int64_t /*layer*/) { return absl::OkStatus(); }
  // After the layer's rows are projected and stand in the slab, before attention reads it. The place to capture E, K
  // and V, to wait for the earlier positions' KV to arrive (projection has overlapped with the wait), and to overwrite
  // slab rows.
  virtual absl::Status OnKv(const LayerKv& /*kv*/) { return absl::OkStatus(); }
};

struct ForwardInput {
  absl::Span<const Row> rows;  // at least one; within a sequence positions ascend by one
  int64_t first_layer = 0;
  int64_t end_layer = -1;  // one past the last layer; -1 = all layers
  // The residual stream entering first_layer, [rows, hidden] in the model's dtype. Undefined: token embeddings, and
  // then first_layer must be 0. Not modified.
  at::Tensor e;
  // The last layer of the range does input norm, K and V only (a plan's run): no output.
  bool kv_only_in_last_layer = false;
  // Indexes into `rows`, ascending, that the result is wanted for. In the last layer of the range the others only leave
  // their K and V. Empty: as with kv_only_in_last_layer. See AllRows and LastRows.
  std::vector<int64_t> wanted;
  ForwardHooks* hooks = nullptr;
};

struct ForwardResult {
  // The residual stream after end_layer - 1 = entering end_layer, [wanted, hidden]; undefined when nothing was wanted.
  at::Tensor hidden;
  // F32 [wanted, vocab]; only when end_layer is the model's last.
  at::Tensor logits;
};

[[nodiscard]] std::vector<int64_t> AllRows(absl::Span<const Row> rows);
// The last row of each sequence.
[[nodiscard]] std::vector<int64_t> LastRows(absl::Span<const Row> rows);
// Rows of one sequence whose run starts at slot `first_slot`: tokens[i] at position first_position + i.
[[nodiscard]] std::vector<Row> MakeRows(absl::Span<const int32_t> tokens, int64_t first_position, int64_t first_slot,
                                        const Rope& rope, int32_t sequence = 0,
                                        const RuntimeAdapter* adapter = nullptr);

// Runs it. `slab` must have the model's shape and dtype. Invalid rows or ranges are INVALID_ARGUMENT; no exception
// leaves. Forwards may run at the same time on one slab if their runs of slots are disjoint.
[[nodiscard]] absl::StatusOr<ForwardResult> Forward(const Model& model, KvSlab& slab, const ForwardInput& input);

}  // namespace droidspeak
