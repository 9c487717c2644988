// SPDX-License-Identifier: Apache-2.0
// Attention of single rows, as decoding has them: bound by reading keys and values.
#pragma once

#include <cstdint>

#include "absl/types/span.h"
#include "engine/model/attention.h"
#include "engine/model/kv_slab.h"
#include "engine/model/rows.h"

namespace droidspeak {

// As Attend for each of `runs`, which have one row each; all of them at once, split over libtorch's threads by head and
// by keys, so that one long sequence keeps many cores busy as well as many sequences do. q: rows of [heads, head_dim]
// of the slab's dtype, after rotary; out: the same, written.
void AttendSingleRows(const Rows& q, int64_t heads, const KvSlab& slab, int64_t layer, int64_t window,
                      absl::Span<const AttentionRun> runs, const Rows& out);

}  // namespace droidspeak
