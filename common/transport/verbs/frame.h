// SPDX-License-Identifier: Apache-2.0
// What goes over a verbs connection beside the bytes of transfers: frames, each of one SEND into one posted receive.
#pragma once

#include <cstddef>
#include <cstdint>

namespace droidspeak::verbs {

// A frame with its header; a longer message goes in several. The same at both ends.
inline constexpr uint32_t kFrameBytes = 4096;
// Receives posted a connection, and frames that may be under way to a peer: with both the memory of a connection is
// 256 KiB, its bound.
inline constexpr uint16_t kReceives = 32;
inline constexpr uint16_t kSends = 32;
// A peer with fewer could not give credit any more.
inline constexpr uint16_t kLeastReceives = 4;

// The values are on the wire.
enum class FrameType : uint8_t {
  kOpen = 1,      // the client's first: the server may send from now on
  kMessage = 2,   // a part of one, the last if `last`
  kAnnounce = 3,  // AnnouncePayload
  kWithdraw = 4,  // WithdrawPayload
  kCredit = 5,    // nothing but its header; also a sign of life
  kGoodbye = 6,   // the peer closes
};

struct FrameHeader {
  FrameType type;
  uint8_t last;
  uint16_t credit;  // receives posted again since the last frame
  uint32_t bytes;   // of the payload that follows
};
static_assert(sizeof(FrameHeader) == 8);

inline constexpr uint32_t kPayloadBytes = kFrameBytes - sizeof(FrameHeader);

struct AnnouncePayload {
  uint32_t region;
  uint32_t key;
  uint64_t address;
  uint64_t bytes;
};
static_assert(sizeof(AnnouncePayload) == 24);

struct WithdrawPayload {
  uint32_t region;
};
static_assert(sizeof(WithdrawPayload) == 4);

}  // namespace droidspeak::verbs
