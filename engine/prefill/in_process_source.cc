// SPDX-License-Identifier: Apache-2.0
#include "engine/prefill/in_process_source.h"

#include <algorithm>

#include "ATen/ops/from_blob.h"
#include "absl/strings/str_cat.h"
#include "engine/model/torch_types.h"
#include "engine/prefill/arrival.h"

namespace droidspeak {

InProcessSource::InProcessSource(const ContextCache& cache, int64_t own_tokens)
    : cache_(cache), own_tokens_(own_tokens), pending_(cache.unit().layers(), false) {}

absl::Status InProcessSource::Begin(const Plan& plan, const ContextTarget& target) {
  target_ = target;
  for (int64_t layer : plan.kv_layers()) {
    if (cache_.kv(layer) == nullptr) return absl::InvalidArgumentError(absl::StrCat("no KV of layer ", layer));
    pending_[layer] = true;
  }
  for (int64_t layer : plan.e_layers()) {
    if (cache_.e(layer) == nullptr) return absl::InvalidArgumentError(absl::StrCat("no E of layer ", layer));
  }
  return absl::OkStatus();
}

at::Tensor InProcessSource::E(int64_t layer, int64_t row, int64_t max_rows) {
  const ExtentUnit& unit = cache_.unit();
  const int64_t rows = std::min(max_rows, tokens() - row);
  std::byte* first = cache_.e(layer) + row * (unit.e_bytes() / unit.block_tokens());
  return at::from_blob(first, {rows, unit.hidden()}, ScalarType(unit.dtype()));
}

void InProcessSource::Place(int64_t layer) {
  if (!pending_[layer]) return;
  pending_[layer] = false;
  PlaceRows(
      target_, layer,
      {.extent = cache_.kv(layer), .extent_tokens = tokens(), .extent_row = 0, .begin = own_tokens_, .end = tokens()});
}

void InProcessSource::PlaceAll() {
  for (int64_t layer = 0; layer < static_cast<int64_t>(pending_.size()); ++layer) Place(layer);
}

}  // namespace droidspeak
