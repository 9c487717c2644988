// SPDX-License-Identifier: Apache-2.0
#include "engine/model/forward_pass.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "common/base/status.h"
#include "engine/model/decode_attention.h"
#include "engine/model/kernels.h"
#include "engine/model/linear.h"
#include "engine/model/torch_types.h"

namespace droidspeak {
namespace {

// Elements that one thread should at least get of an element-wise step: less is not worth waking it.
constexpr int64_t kGrainElements = 16384;

// Calls body(row) for each row, `width` elements wide, split over libtorch's threads.
template <typename Body>
void ForEachRow(int64_t rows, int64_t width, const Body& body) {
  at::parallel_for(0, rows, std::max<int64_t>(1, kGrainElements / width), [&body](int64_t first, int64_t end) {
    for (int64_t row = first; row < end; ++row) body(row);
  });
}

}  // namespace

ForwardPass::ForwardPass(const Model& model, KvSlab& slab, const ForwardInput& input)
    : model_(model),
      slab_(slab),
      input_(input),
      end_layer_(input.end_layer < 0 ? model.config().layers : input.end_layer),
      kv_only_(input.kv_only_in_last_layer || input.wanted.empty()),
      query_rows_(AllRows(input.rows)) {
  MakeRuns();
}

void ForwardPass::MakeRuns() {
  runs_.clear();
  adapters_.clear();
  for (size_t i = 0; i < query_rows_.size(); ++i) {
    const Row& row = input_.rows[query_rows_[i]];
    const int64_t base = row.slot - row.position;
    const auto at = static_cast<int64_t>(i);
    if (!adapters_.empty() && adapters_.back().adapter == row.adapter &&
        adapters_.back().first + adapters_.back().count == at) {
      ++adapters_.back().count;
    } else if (row.adapter != nullptr) {
      adapters_.push_back({.first = at, .count = 1, .adapter = row.adapter});
    }
    if (i > 0) {
      AttentionRun& run = runs_.back();
      const Row& before = input_.rows[query_rows_[i - 1]];
      if (before.sequence == row.sequence && row.position == run.first_position + run.count) {
        ++run.count;
        continue;
      }
    }
    runs_.push_back({.first_row = at, .count = 1, .first_position = row.position, .base_slot = base});
  }
  const auto single =
      std::stable_partition(runs_.begin(), runs_.end(), [](const AttentionRun& run) { return run.count > 1; });
  single_rows_.assign(single, runs_.end());
  runs_.erase(single, runs_.end());
}

void ForwardPass::Enter() {
  if (input_.e.defined()) {
    x_ = input_.e.contiguous();
    return;
  }
  std::vector<int64_t> tokens;
  tokens.reserve(input_.rows.size());
  for (const Row& row : input_.rows) tokens.push_back(row.token);
  x_ = model_.Embed(tokens);
  owns_x_ = true;
}

at::Tensor ForwardPass::AddNorm(const at::Tensor& weight) {
  at::Tensor normed = at::empty_like(x_);
  const at::Tensor sum = owns_x_ || !pending_.defined() ? x_ : at::empty_like(x_);
  const int64_t width = x_.size(1);
  const auto epsilon = static_cast<float>(model_.config().rms_norm_eps);
  const Rows from(x_), to_sum(sum), to(normed);
  const void* scale = weight.data_ptr();
  if (pending_.defined()) {
    const Rows add(pending_);
    ForEachRow(x_.size(0), width, [&, dtype = model_.dtype()](int64_t i) {
      AddNormRow(dtype, from[i], add[i], scale, to_sum[i], to[i], width, epsilon);
    });
    x_ = sum;
    owns_x_ = true;
    pending_.reset();
  } else {
    ForEachRow(x_.size(0), width,
               [&, dtype = model_.dtype()](int64_t i) { NormRow(dtype, from[i], scale, to[i], width, epsilon); });
  }
  return normed;
}

void ForwardPass::NormHeads(const Rows& rows, int64_t count, int64_t heads, const at::Tensor& weight) const {
  if (!weight.defined()) return;
  const int64_t head_dim = weight.size(0);
  const int64_t head_bytes = head_dim * DtypeBytes(model_.dtype());
  const auto epsilon = static_cast<float>(model_.config().rms_norm_eps);
  ForEachRow(count, heads * head_dim, [&, dtype = model_.dtype(), scale = weight.data_ptr()](int64_t i) {
    for (int64_t head = 0; head < heads; ++head) {
      std::byte* const one = rows[i] + head * head_bytes;
      NormRow(dtype, one, scale, one, head_dim, epsilon);
    }
  });
}

at::Tensor ForwardPass::Multiply(int64_t layer, Product product, const at::Tensor& x, int64_t first,
                                 int64_t count) const {
  const FusedWeight fused = model_.layer(layer).Of(product);
  at::Tensor y = Linear(x, *fused.weight, *fused.bias, first, count);
  for (const AdapterRun& run : adapters_) {
    run.adapter->AddTo(layer, product, x.narrow(0, run.first, run.count), first, y.narrow(0, run.first, run.count));
  }
  return y;
}

at::Tensor ForwardPass::Multiply(int64_t layer, Product product, const at::Tensor& x) const {
  return Multiply(layer, product, x, 0, model_.layer(layer).Of(product).weight->out());
}

absl::Status ForwardPass::StoreKv(int64_t layer, const at::Tensor& kv, int64_t first) {
  const Rows from(kv, first);
  NormHeads(from, kv.size(0), slab_.kv_heads(), model_.layer(layer).k_norm);
  const int64_t heads = slab_.kv_heads(), head_dim = slab_.head_dim(), half = heads * head_dim;
  const int64_t head_bytes = head_dim * DtypeBytes(model_.dtype());
  ForEachRow(kv.size(0), 2 * half, [&](int64_t i) {
    const Row& row = input_.rows[i];
    const std::byte* k = from[i];
    const std::byte* v = k + heads * head_bytes;
    for (int64_t head = 0; head < heads; ++head) {
      row.rope->RotateHead(model_.dtype(), k + head * head_bytes, slab_.KAddress(layer, head, row.slot), row.position);
      std::memcpy(slab_.VAddress(layer, head, row.slot), v + head * head_bytes, head_bytes);
    }
  });
  if (input_.hooks == nullptr) return absl::OkStatus();
  return input_.hooks->OnKv(
      {.layer = layer, .rows = kv.size(0), .e = Rows(x_), .k = from, .v = Rows(kv, first + half)});
}

void ForwardPass::RotateQ(int64_t layer, const Rows& q) {
  const ModelConfig& config = model_.config();
  const auto count = static_cast<int64_t>(query_rows_.size());
  NormHeads(q, count, config.heads, model_.layer(layer).q_norm);
  const int64_t head_bytes = config.head_dim * DtypeBytes(model_.dtype());
  ForEachRow(count, config.heads * config.head_dim, [&](int64_t i) {
    const Row& row = input_.rows[query_rows_[i]];
    for (int64_t head = 0; head < config.heads; ++head) {
      std::byte* values = q[i] + head * head_bytes;
      row.rope->RotateHead(model_.dtype(), values, values, row.position);
    }
  });
}

void ForwardPass::Finish(int64_t layer, const at::Tensor& q) {
  const ModelConfig& config = model_.config();
  const Rows queries(q);
  RotateQ(layer, queries);
  const int64_t width = config.heads * config.head_dim, window = config.windows[layer];
  at::Tensor attended = at::empty({q.size(0), width}, q.options());
  if (!runs_.empty()) {
    const at::Tensor heads = q.narrow(1, 0, width).unflatten(1, {config.heads, config.head_dim});
    for (const AttentionRun& run : runs_) Attend(heads, slab_, layer, window, run, attended);
  }
  AttendSingleRows(queries, config.heads, slab_, layer, window, single_rows_, Rows(attended));
  pending_ = Multiply(layer, Product::kO, attended);
  const at::Tensor normed = AddNorm(model_.layer(layer).post_norm);
  const at::Tensor gate_up = Multiply(layer, Product::kGateUp, normed);
  const int64_t wide = gate_up.size(1) / 2;
  const at::Tensor product = at::empty({gate_up.size(0), wide}, gate_up.options());
  const Rows gate(gate_up), up(gate_up, wide), to(product);
  ForEachRow(gate_up.size(0), wide,
             [&, dtype = model_.dtype()](int64_t i) { SiluMulRow(dtype, gate[i], up[i], to[i], wide); });
  pending_ = Multiply(layer, Product::kDown, product);
}

void ForwardPass::KeepWanted() {
  query_rows_ = input_.wanted;
  MakeRuns();
}

absl::Status ForwardPass::RunLayer(int64_t layer) {
  if (input_.hooks != nullptr) RETURN_IF_ERROR(input_.hooks->BeforeLayer(layer));
  const ModelConfig& config = model_.config();
  const int64_t q_width = config.heads * config.head_dim, kv_width = 2 * config.kv_heads * config.head_dim;
  const bool last = layer + 1 == end_layer_;
  const at::Tensor normed = AddNorm(model_.layer(layer).input_norm);
  if (last && (kv_only_ || input_.wanted.size() < input_.rows.size())) {
    RETURN_IF_ERROR(StoreKv(layer, Multiply(layer, Product::kQkv, normed, q_width, kv_width), 0));
    if (kv_only_) return absl::OkStatus();
    const at::Tensor wanted = at::tensor(at::IntArrayRef(input_.wanted), at::kLong);
    x_ = x_.index_select(0, wanted);
    owns_x_ = true;
    KeepWanted();
    Finish(layer, Multiply(layer, Product::kQkv, normed.index_select(0, wanted), 0, q_width));
  } else {
    const at::Tensor qkv = Multiply(layer, Product::kQkv, normed);
    RETURN_IF_ERROR(StoreKv(layer, qkv, q_width));
    Finish(layer, qkv);
  }
  return absl::OkStatus();
}

absl::StatusOr<ForwardResult> ForwardPass::Run() {
  // Tensors stay ordinary ones (unlike under InferenceMode), autograd costs nothing.
  const at::AutoDispatchBelowADInplaceOrView no_autograd;
  Enter();
  for (int64_t layer = input_.first_layer; layer < end_layer_; ++layer) RETURN_IF_ERROR(RunLayer(layer));
  ForwardResult result;
  if (kv_only_) return result;
  const at::Tensor normed = AddNorm(model_.final_norm());
  result.hidden = x_;
  if (end_layer_ == model_.config().layers) result.logits = Linear(normed, model_.lm_head(), {}).to(at::kFloat);
  return result;
}

}  // namespace droidspeak
