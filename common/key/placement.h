// SPDX-License-Identifier: Apache-2.0
// Which server keeps which blocks. A *stripe* is 16 consecutive blocks of a chain; servers are ranked for it by
// rendezvous hashing, so that a changed list moves only what it must. Blocks scattered one by one would make every long
// context depend on every server; a whole context on one server would not use the cluster's bandwidth.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/types/span.h"
#include "common/key/digest.h"

namespace droidspeak {

inline constexpr uint32_t kStripeBlocks = 16;

// Position, from 0, of the first block of the stripe that has the block at `position`. That block's hash is the
// stripe's key.
constexpr uint32_t StripeStart(uint32_t position) {
  return position / kStripeBlocks * kStripeBlocks;
}

// XXH3_64(key ‖ server_name). `server_name` is the configured name, never an address.
uint64_t PlacementScore(const Digest& stripe_key, std::string_view server_name);

// Indices into `server_names`, best first: the home of the stripe, then its replicas. Equal scores are ranked by name.
std::vector<size_t> PlacementOrder(const Digest& stripe_key, absl::Span<const std::string> server_names);

}  // namespace droidspeak
