// SPDX-License-Identifier: Apache-2.0
#include "engine/prefill/capture.h"

#include <algorithm>
#include <cstring>
#include <new>

#include "absl/strings/str_cat.h"
#include "common/base/status.h"
#include "engine/model/torch_types.h"
#include "engine/prefill/partial_prefill.h"
#include "engine/prefill/sequence.h"

namespace droidspeak {
namespace {

// Rows [from, from + count) of `heads` go to rows [to, ...) of an extent's half.
void CopyHeads(const ExtentUnit& unit, std::byte* half, const Rows& heads, int64_t from, int64_t to, int64_t count) {
  const int64_t bytes = unit.head_dim() * static_cast<int64_t>(DtypeBytes(unit.dtype()));
  for (int64_t head = 0; head < unit.kv_heads(); ++head) {
    std::byte* const place = half + (head * unit.block_tokens() + to) * bytes;
    for (int64_t i = 0; i < count; ++i) std::memcpy(place + i * bytes, heads[from + i] + head * bytes, bytes);
  }
}

// Rows [from, from + count) of the layer go to rows [to, ...) of the unit.
void CopyRows(const ExtentUnit& unit, std::byte* memory, const LayerKv& kv, int64_t from, int64_t to, int64_t count) {
  if (const int64_t offset = unit.kv_offset(kv.layer); offset != ExtentUnit::kAbsent) {
    CopyHeads(unit, memory + offset, kv.k, from, to, count);
    CopyHeads(unit, memory + offset + unit.kv_bytes() / 2, kv.v, from, to, count);
  }
  if (const int64_t offset = unit.e_offset(kv.layer); offset != ExtentUnit::kAbsent) {
    const int64_t bytes = unit.hidden() * static_cast<int64_t>(DtypeBytes(unit.dtype()));
    for (int64_t i = 0; i < count; ++i) {
      std::memcpy(memory + offset + (to + i) * bytes, kv.e[from + i], bytes);
    }
  }
}

}  // namespace

void CopyIntoUnit(const ExtentUnit& unit, std::byte* memory, int64_t block_row, const LayerKv& kv, int64_t row) {
  const int64_t begin = std::max(row, block_row);
  const int64_t end = std::min(row + kv.rows, block_row + unit.block_tokens());
  if (begin < end) CopyRows(unit, memory, kv, begin - row, begin - block_row, end - begin);
}

absl::StatusOr<std::unique_ptr<ContextCache>> ContextCache::Create(const ExtentUnit& unit) {
  std::unique_ptr<std::byte[]> memory(new (std::nothrow) std::byte[unit.unit_bytes()]);
  if (memory == nullptr) {
    return absl::ResourceExhaustedError(absl::StrCat("no memory for ", unit.unit_bytes(), " bytes of context"));
  }
  return std::unique_ptr<ContextCache>(new ContextCache(unit, std::move(memory)));
}

absl::Status ContextCache::OnLayer(const LayerKv& kv, int64_t row) {
  CopyIntoUnit(unit_, memory_.get(), 0, kv, row);
  return absl::OkStatus();
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
