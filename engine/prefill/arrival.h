// SPDX-License-Identifier: Apache-2.0
// The arrival pass: from an extent's bytes to rows that attention can read.
#pragma once

#include <cstddef>
#include <cstdint>

#include "engine/prefill/context_source.h"

namespace droidspeak {

// Rows [begin, end) of an extent (K, then V, each [kv_heads, extent_tokens, head_dim]) whose first row is `extent_row`.
struct ExtentRows {
  const std::byte* extent = nullptr;
  int64_t extent_tokens = 0;
  int64_t extent_row = 0;
  int64_t begin = 0;
  int64_t end = 0;
};

// Rotates K and places K and V of those rows in the slab. Thread-safe for different (layer, rows).
void PlaceRows(const ContextTarget& target, int64_t layer, const ExtentRows& rows);

}  // namespace droidspeak
