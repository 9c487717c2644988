// SPDX-License-Identifier: Apache-2.0
// Names of blocks: a chain of SHA-256 over token ids that starts at a namespace, which binds tenant, model and layout.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "absl/types/span.h"
#include "common/key/digest.h"

namespace droidspeak {

// HMAC-SHA-256(cluster_secret, "droidspeak/salt/v1" ‖ lp(tenant)). Never leaves the server. In process (no server) the
// salt is Digest{}, 32 zero bytes.
Digest Salt(std::string_view cluster_secret, std::string_view tenant);

// SHA-256("droidspeak/namespace/v1" ‖ lp(salt) ‖ lp(weights) ‖ lp(adapter) ‖ lp(layout)): h[0] of its chains. `layout`
// is the canonical form (Layout::ToString()).
Digest Namespace(const Digest& salt, const Digest& weights, const std::optional<Digest>& adapter,
                 std::string_view layout);

// h[i] = SHA-256("droidspeak/block/v1" ‖ h[i-1] ‖ u32 n ‖ n token ids u32 ‖ lp(extra)); `tokens` is one full block,
// `extra` is empty for text.
Digest BlockHash(const Digest& previous, absl::Span<const uint32_t> tokens, std::string_view extra = {});

// h[1], h[2], … of the full blocks of `tokens`, following `previous` (a namespace, or the hash of the block before); a
// rest shorter than a block has no name. block_tokens > 0.
std::vector<Digest> BlockHashes(const Digest& previous, absl::Span<const uint32_t> tokens, uint32_t block_tokens);

}  // namespace droidspeak
