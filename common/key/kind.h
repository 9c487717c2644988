// SPDX-License-Identifier: Apache-2.0
// The two kinds of extents a layer of a block has.
#pragma once

#include <cstdint>

namespace droidspeak {

// The values are on the wire, on disk and in checksums.
enum class Kind : uint8_t {
  kKv = 0,  // K, then V, each [kv_heads, block_tokens, head_dim]
  kE = 1,   // the residual stream entering the layer, [block_tokens, hidden]
};

}  // namespace droidspeak
