// SPDX-License-Identifier: Apache-2.0
#include "engine/model/forward_check.h"

#include <set>

#include "absl/strings/str_cat.h"
#include "common/base/status.h"
#include "common/base/text.h"
#include "engine/model/runtime_adapter.h"
#include "engine/model/torch_types.h"

namespace droidspeak {
namespace {

absl::Status Bad(absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("forward: ", what));
}

absl::Status CheckRow(const Model& model, const KvSlab& slab, const Row& row, bool reads_token) {
  const ModelConfig& config = model.config();
  if (reads_token && (row.token < 0 || row.token >= config.vocab_size)) {
    return Bad(absl::StrCat("token ", row.token, "; expected 0 to ", config.vocab_size - 1));
  }
  if (row.position < 0 || row.position >= config.max_positions) {
    return Bad(absl::StrCat("position ", row.position, "; the model's limit is ", config.max_positions, " tokens"));
  }
  if (row.slot < row.position || row.slot >= slab.slots()) {
    return Bad(absl::StrCat("slot ", row.slot, " at position ", row.position, "; expected from its position to ",
                            slab.slots() - 1));
  }
  if (row.rope == nullptr || row.rope->head_dim() != config.head_dim ||
      row.rope->max_positions() != config.max_positions) {
    return Bad("a row without the model's rotary embedding");
  }
  if (row.adapter != nullptr && &row.adapter->base() != &model) return Bad("a row with another model's adapter");
  return absl::OkStatus();
}

absl::Status CheckRows(const Model& model, const KvSlab& slab, const ForwardInput& input) {
  if (input.rows.empty()) return Bad("no rows; expected at least one");
  std::set<int32_t> seen;
  for (size_t i = 0; i < input.rows.size(); ++i) {
    const Row& row = input.rows[i];
    RETURN_IF_ERROR(CheckRow(model, slab, row, !input.e.defined()));
    if (i == 0 || input.rows[i - 1].sequence != row.sequence) {
      if (!seen.insert(row.sequence).second) return Bad(absl::StrCat("rows of sequence ", row.sequence, " are apart"));
      continue;
    }
    const Row& before = input.rows[i - 1];
    if (row.position != before.position + 1 || row.slot != before.slot + 1 || row.rope != before.rope ||
        row.adapter != before.adapter) {
      return Bad(absl::StrCat("row ", i, " of sequence ", row.sequence,
                              ": position, slot, rotary embedding or adapter does not follow the row before"));
    }
  }
  for (size_t i = 0; i < input.wanted.size(); ++i) {
    const int64_t low = i == 0 ? 0 : input.wanted[i - 1] + 1;
    if (input.wanted[i] < low || input.wanted[i] >= static_cast<int64_t>(input.rows.size())) {
      return Bad(absl::StrCat("wanted row ", input.wanted[i], "; expected ascending rows below ", input.rows.size()));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckForward(const Model& model, const KvSlab& slab, const ForwardInput& input) {
  const ModelConfig& config = model.config();
  if (slab.dtype() != model.dtype() || slab.layers() != config.layers || slab.kv_heads() != config.kv_heads ||
      slab.head_dim() != config.head_dim) {
    return Bad("the slab has another shape or dtype than the model");
  }
  const int64_t end = input.end_layer < 0 ? config.layers : input.end_layer;
  if (input.first_layer < 0 || input.first_layer >= end || end > config.layers) {
    return Bad(absl::StrCat("layers [", input.first_layer, ", ", end, "); expected a range within ", config.layers));
  }
  if (input.e.defined()) {
    if (input.e.dim() != 2 || input.e.size(0) != static_cast<int64_t>(input.rows.size()) ||
        input.e.size(1) != config.hidden_size || input.e.scalar_type() != ScalarType(model.dtype())) {
      return Bad(absl::StrCat("E; expected [", input.rows.size(), ",", config.hidden_size, "] in ",
                              ToAbsl(DtypeName(model.dtype()))));
    }
  } else if (input.first_layer != 0) {
    return Bad(absl::StrCat("no E for first layer ", input.first_layer));
  }
  return CheckRows(model, slab, input);
}

}  // namespace droidspeak
