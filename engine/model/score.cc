// SPDX-License-Identifier: Apache-2.0
#include "engine/model/score.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/from_blob.h>

#include <algorithm>
#include <limits>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/base/status.h"
#include "engine/model/forward.h"
#include "engine/model/torch_types.h"

namespace droidspeak {
namespace {

// Rows a forward: bounds the memory of activations.
constexpr int64_t kChunkTokens = 1024;

// Copies what passes into a dump; `first_token` is where the running chunk starts.
class DumpHooks : public ForwardHooks {
 public:
  DumpHooks(CacheDump& dump, Dtype dtype) : dump_(dump), type_(ScalarType(dtype)) {}

  absl::Status OnKv(const LayerKv& kv) override {
    dump_.e[kv.layer].narrow(0, first_token, kv.rows).copy_(View(kv.e, kv.rows, {dump_.e.size(2)}));
    const std::vector<int64_t> heads = {dump_.k.size(1), dump_.k.size(3)};
    dump_.k[kv.layer].narrow(1, first_token, kv.rows).copy_(View(kv.k, kv.rows, heads).transpose(0, 1));
    dump_.v[kv.layer].narrow(1, first_token, kv.rows).copy_(View(kv.v, kv.rows, heads).transpose(0, 1));
    return absl::OkStatus();
  }

  int64_t first_token = 0;

 private:
  // [rows, shape]
  [[nodiscard]] at::Tensor View(const Rows& rows, int64_t count, const std::vector<int64_t>& shape) const {
    std::vector<int64_t> sizes = {count},
                         strides = {rows.stride_bytes() / static_cast<int64_t>(c10::elementSize(type_))};
    sizes.insert(sizes.end(), shape.begin(), shape.end());
    if (shape.size() == 2) strides.push_back(shape[1]);
    strides.push_back(1);
    return at::from_blob(rows[0], sizes, strides, type_);
  }

  CacheDump& dump_;
  const at::ScalarType type_;
};

// Runs all tokens in chunks through a slab of its own; appends the logits of the wanted rows to `logits`.
absl::Status RunAll(const Model& model, absl::Span<const int32_t> tokens, bool all_positions, DumpHooks* hooks,
                    std::vector<at::Tensor>& logits) {
  const auto count = static_cast<int64_t>(tokens.size());
  if (count < 1 || count > model.config().max_positions) {
    return absl::InvalidArgumentError(
        absl::StrCat(count, " tokens; expected 1 to the model's limit of ", model.config().max_positions));
  }
  ASSIGN_OR_RETURN(auto slab,
                   KvSlab::Create(model.config(), model.dtype(), count, std::numeric_limits<int64_t>::max()));
  const std::shared_ptr<const Rope> rope = model.RopeFor(count);
  for (int64_t first = 0; first < count; first += kChunkTokens) {
    const int64_t end = std::min(count, first + kChunkTokens);
    const std::vector<Row> rows = MakeRows(tokens.subspan(first, end - first), first, 0, *rope);
    ForwardInput input{.rows = rows, .hooks = hooks};
    if (all_positions) {
      input.wanted = AllRows(rows);
    } else if (end == count) {
      input.wanted = LastRows(rows);
    }
    if (hooks != nullptr) hooks->first_token = first;
    ASSIGN_OR_RETURN(ForwardResult result, Forward(model, *slab, input));
    if (result.logits.defined()) logits.push_back(std::move(result.logits));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<at::Tensor> ScoreTokens(const Model& model, absl::Span<const int32_t> tokens, bool all_positions) {
  return WithoutExceptions("scoring", [&]() -> absl::StatusOr<at::Tensor> {
    std::vector<at::Tensor> logits;
    RETURN_IF_ERROR(RunAll(model, tokens, all_positions, nullptr, logits));
    return all_positions ? at::cat(logits) : logits.back().squeeze(0);
  });
}

absl::StatusOr<CacheDump> DumpCache(const Model& model, absl::Span<const int32_t> tokens) {
  return WithoutExceptions("dumping the cache", [&]() -> absl::StatusOr<CacheDump> {
    const ModelConfig& config = model.config();
    const auto count = static_cast<int64_t>(tokens.size());
    CacheDump dump{.e = at::empty({config.layers, count, config.hidden_size}, at::kFloat),
                   .k = at::empty({config.layers, config.kv_heads, count, config.head_dim}, at::kFloat)};
    dump.v = at::empty_like(dump.k);
    DumpHooks hooks(dump, model.dtype());
    std::vector<at::Tensor> logits;
    RETURN_IF_ERROR(RunAll(model, tokens, /*all_positions=*/false, &hooks, logits));
    return dump;
  });
}

}  // namespace droidspeak
