// SPDX-License-Identifier: Apache-2.0
// What the two ends of a connection tell each other before it exists, carried by the session.
#pragma once

#include <infiniband/verbs.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace droidspeak::verbs {

inline constexpr size_t kMostQueuePairs = 8;

// Little-endian, as everything here.
struct Introduction {
  static constexpr uint32_t kMagic = 0x31565344;  // "DSV1"
  struct QueuePairNumber {
    uint32_t number;  // 24 bits
    uint32_t first_packet;
  };

  uint32_t magic = kMagic;
  uint16_t lid = 0;
  uint8_t mtu = 0;         // an ibv_mtu
  uint8_t link_layer = 0;  // IBV_LINK_LAYER_…
  uint8_t gid[16] = {};
  uint32_t frame_bytes = 0;  // that its receives take
  uint16_t receives = 0;     // frames that may be sent to it before it gives more credit
  uint8_t queue_pairs = 0;
  uint8_t reads = 0;  // RDMA READs under way that it can answer a queue pair
  QueuePairNumber queue_pair[kMostQueuePairs] = {};

  std::string Encode() const;
  // INVALID_ARGUMENT for what no end of this transport sends.
  [[nodiscard]] static absl::StatusOr<Introduction> Decode(std::string_view text);
  // For messages to people.
  std::string Name() const;
};
static_assert(sizeof(Introduction) == 32 + 8 * kMostQueuePairs);

}  // namespace droidspeak::verbs
