// SPDX-License-Identifier: Apache-2.0
#include "engine/prefill/arrival.h"

namespace droidspeak {

void PlaceRows(const ContextTarget& target, int64_t layer, const ExtentRows& rows) {
  if (rows.begin >= rows.end) return;
  // Heads stand extent_tokens rows apart whatever row they are read from, so that a later start is only an offset.
  const int64_t row_bytes = target.slab->head_dim() * static_cast<int64_t>(DtypeBytes(target.slab->dtype()));
  target.slab->PlaceExtent(*target.rope, layer, target.first_slot + rows.begin, rows.begin,
                           rows.extent + (rows.begin - rows.extent_row) * row_bytes, rows.extent_tokens,
                           rows.end - rows.begin);
}

}  // namespace droidspeak
