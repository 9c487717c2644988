// SPDX-License-Identifier: Apache-2.0
#include "engine/prefill/capture.h"

#include <algorithm>
#include <new>

#include "ATen/ops/from_blob.h"
#include "absl/strings/str_cat.h"
#include "common/base/status.h"
#include "engine/model/torch_types.h"
#include "engine/prefill/partial_prefill.h"
#include "engine/prefill/sequence.h"

namespace droidspeak {
namespace {

// Rows [from, from + rows) of the layer go to rows [to, ...) of the unit.
void CopyRows(const ExtentUnit& unit, std::byte* memory, const LayerKv& kv, int64_t from, int64_t to, int64_t rows) {
  const at::ScalarType type = ScalarType(unit.dtype());
  if (const int64_t offset = unit.kv_offset(kv.layer); offset != ExtentUnit::kAbsent) {
    const at::Tensor extent =
        at::from_blob(memory + offset, {2, unit.kv_heads(), unit.block_tokens(), unit.head_dim()}, type);
    extent[0].narrow(1, to, rows).copy_(kv.k.narrow(0, from, rows).transpose(0, 1));
    extent[1].narrow(1, to, rows).copy_(kv.v.narrow(0, from, rows).transpose(0, 1));
  }
  if (const int64_t offset = unit.e_offset(kv.layer); offset != ExtentUnit::kAbsent) {
    const at::Tensor extent = at::from_blob(memory + offset, {unit.block_tokens(), unit.hidden()}, type);
    extent.narrow(0, to, rows).copy_(kv.e.narrow(0, from, rows));
  }
}

}  // namespace

absl::Status CopyIntoUnit(const ExtentUnit& unit, std::byte* memory, int64_t block_row, const LayerKv& kv,
                          int64_t row) {
  const int64_t begin = std::max(row, block_row);
  const int64_t end = std::min(row + kv.e.size(0), block_row + unit.block_tokens());
  if (begin >= end) return absl::OkStatus();
  return WithoutExceptions("copying a layer's tensors", [&] {
    CopyRows(unit, memory, kv, begin - row, begin - block_row, end - begin);
    return absl::OkStatus();
  });
}

absl::StatusOr<std::unique_ptr<ContextCache>> ContextCache::Create(const ExtentUnit& unit) {
  std::unique_ptr<std::byte[]> memory(new (std::nothrow) std::byte[unit.unit_bytes()]);
  if (memory == nullptr) {
    return absl::ResourceExhaustedError(absl::StrCat("no memory for ", unit.unit_bytes(), " bytes of context"));
  }
  return std::unique_ptr<ContextCache>(new ContextCache(unit, std::move(memory)));
}

absl::Status ContextCache::OnLayer(const LayerKv& kv, int64_t row) {
  return CopyIntoUnit(unit_, memory_.get(), 0, kv, row);
}

std::byte* ContextCache::kv(int64_t layer) const {
  const int64_t offset = unit_.kv_offset(layer);
  return offset == ExtentUnit::kAbsent ? nullptr : memory_.get() + offset;
}

std::byte* ContextCache::e(int64_t layer) const {
  const int64_t offset = unit_.e_offset(layer);
  return offset == ExtentUnit::kAbsent ? nullptr : memory_.get() + offset;
}

absl::StatusOr<std::unique_ptr<ContextCache>> CaptureContext(const Model& model, absl::Span<const int32_t> tokens,
                                                             int64_t reach, const std::vector<int64_t>& kv_layers,
                                                             const std::vector<int64_t>& e_layers) {
  const int64_t length = static_cast<int64_t>(tokens.size());
  const ExtentUnit unit(model.config(), model.dtype(), length, kv_layers, e_layers);
  ASSIGN_OR_RETURN(std::unique_ptr<ContextCache> cache, ContextCache::Create(unit));
  int64_t end_layer = 0;
  for (int64_t layer : kv_layers) end_layer = std::max(end_layer, layer + 1);
  for (int64_t layer : e_layers) end_layer = std::max(end_layer, layer + 1);
  if (end_layer == 0 || length == 0) return cache;

  ASSIGN_OR_RETURN(const Sequence sequence, Sequence::Create(model, length));
  ASSIGN_OR_RETURN(const std::shared_ptr<const Rope> rope,
                   WithoutExceptions("capturing", [&]() -> absl::StatusOr<std::shared_ptr<const Rope>> {
                     return model.RopeFor(std::max(reach, length));
                   }));
  for (int64_t row = 0; row < length; row += kPrefillStepTokens) {
    const int64_t end = std::min(row + kPrefillStepTokens, length);
    const std::vector<Row> rows = MakeRows(tokens.subspan(row, end - row), row, sequence.run.first, *rope);
    CaptureHooks hooks(cache.get(), row);
    ForwardInput input;
    input.rows = rows;
    input.end_layer = end_layer;
    input.kv_only_in_last_layer = true;
    input.hooks = &hooks;
    RETURN_IF_ERROR(Forward(model, *sequence.slab, input).status());
  }
  return cache;
}

}  // namespace droidspeak
