// SPDX-License-Identifier: Apache-2.0
// What goes over a UCX connection: four active messages, each with a fixed header.
//
// UCX keeps the order of small active messages, but a large one's bytes arrive later than its announcement. So every
// control message carries its place among the control messages and the number of pushes posted before it, and the
// receiver holds it until all of those are there.
#pragma once

#include <cstdint>

namespace droidspeak::ucx {

enum ActiveMessage : unsigned {
  kAmControl = 0,      // either way: ControlHeader and the message
  kAmPush = 1,         // server to client: PushHeader and the bytes
  kAmPullRequest = 2,  // server to client: PullHeader
  kAmPullData = 3,     // client to server: PullHeader and the bytes
  kAmCount = 4,
};

enum class ControlType : uint32_t { kMessage = 1, kAnnounce = 2, kWithdraw = 3 };

struct ControlHeader {
  uint32_t type;
  uint32_t region;         // kAnnounce, kWithdraw; else 0
  uint64_t number;         // from 0, of this direction
  uint64_t pushes_before;  // posted by the sender
  uint64_t region_bytes;   // kAnnounce; else 0
};
static_assert(sizeof(ControlHeader) == 32);

struct PushHeader {
  uint64_t number;  // from 0
  uint64_t offset;
  uint64_t bytes;
  uint32_t region;
  uint32_t reserved;
};
static_assert(sizeof(PushHeader) == 32);

struct PullHeader {
  uint64_t number;  // from 0; the server's name for this pull
  uint64_t offset;
  uint64_t bytes;
  uint32_t region;
  uint32_t reserved;
};
static_assert(sizeof(PullHeader) == 32);

// Room for any of them.
inline constexpr size_t kMaxHeaderBytes = 32;

}  // namespace droidspeak::ucx
