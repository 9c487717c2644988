// SPDX-License-Identifier: Apache-2.0
// What goes over a socket of the `tcp` transport: frames of a fixed header and, for some, a payload.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace droidspeak::tcp {

// The values are on the wire.
enum class FrameType : uint32_t {
  kOpen = 1,      // the first of a connection's first stream: number is kMagic
  kJoin = 2,      // the first of another stream of it: ticket in number and offset
  kStreams = 3,   // server: the client may open `region` more streams; their ticket in number and offset
  kMessage = 4,   // payload; number: pushes posted before it
  kAnnounce = 5,  // client: region, bytes
  kWithdraw = 6,  // client: region
  kPush = 7,      // server: payload for [offset, offset + bytes) of region; number counts pushes from 0
  kPull = 8,      // server: asks for [offset, offset + bytes) of region; number counts pulls from 0
  kPulled = 9,    // client: payload, the answer to pull `number`
  kJoined = 10,   // server: the first on a stream that it took in
};

struct FrameHeader {
  FrameType type;
  uint32_t region;
  uint64_t number;
  uint64_t offset;
  uint64_t bytes;
};
static_assert(sizeof(FrameHeader) == 32 && offsetof(FrameHeader, number) == 8 && offsetof(FrameHeader, bytes) == 24);

inline constexpr uint64_t kMagic = 0x3130504354505344;  // "DSPTCP01"

inline constexpr bool HasPayload(FrameType type) {
  return type == FrameType::kMessage || type == FrameType::kPush || type == FrameType::kPulled;
}

// What lets a stream join a connection: random, told only to a client that has proved who it is.
using Ticket = std::array<uint64_t, 2>;

// Messages that the peer doesn't take are kept up to this, then Send is refused.
inline constexpr size_t kMaxQueuedBytes = size_t{8} << 20;
// What a peer may have sent ahead of what it has to wait for: bytes of messages, and things counted one by one.
inline constexpr size_t kMaxWaitingBytes = size_t{64} << 20;
inline constexpr size_t kMaxAhead = size_t{1} << 16;
inline constexpr size_t kMaxPushesAhead = size_t{1} << 22;
// A message of a client that has not proved who it is.
inline constexpr size_t kMaxStrangerBytes = size_t{4} << 10;
// Streams of one connection beyond its first.
inline constexpr uint32_t kMaxMoreStreams = 15;

}  // namespace droidspeak::tcp
