// SPDX-License-Identifier: Apache-2.0
// The data plane's limits and tunables, with their reasons, in one place.
#pragma once

#include <cstddef>
#include <cstdint>

#include "absl/time/time.h"

namespace droidspeak::tuning {

// While fewer bytes than this of a request are under way, it posts another extent. UCX moves what is posted side by
// side, so a larger window delays the first blocks; a smaller one costs processor time (ucx over loopback TCP, 1 MiB
// extents, CPU seconds per GB of both ends: 2 MiB 0.42, 4 MiB 0.40, 6 MiB 0.38, 12 MiB 0.34, 24 MiB 0.35).
inline constexpr uint64_t kRequestWindowBytes = 8 << 20;
// What a fetch reads from disk ahead of what it posts, beyond its window.
inline constexpr uint64_t kReadAheadBytes = 8 << 20;
// The window of stores and prefetches while a first-token fetch is under way: they only fill its pauses.
inline constexpr uint64_t kYieldWindowBytes = 1 << 20;
// What a request posts before the next one has its turn.
inline constexpr uint64_t kTurnBytes = 1 << 20;
// After so many bytes of first tokens, one turn is for stores and prefetches: even when there is always another first
// token to send, what was promised to the others must not run into their deadlines.
inline constexpr uint64_t kAheadBytes = 16 << 20;
// What all requests post before connections are looked at again.
inline constexpr uint64_t kPumpBytes = 1 << 20;

// A fill holds at most this share of the pool in slots that nobody can read yet.
inline constexpr uint64_t kFillPoolShare = 8;
// A fill that gets no slot because everything in the pool is in use waits for so long before it is refused.
inline constexpr absl::Duration kRoomPatience = absl::Seconds(2);

// Bytes posted and not yet complete, over all requests of a session, and of the server.
inline constexpr uint64_t kSessionInflightBytes = 64 << 20;
inline constexpr uint64_t kServerInflightBytes = 512 << 20;

// LayerDone goes out after that many bytes of an item: the reader verifies one run while the next is on its way. E goes
// out in smaller runs, since recomputation starts with its first rows.
inline constexpr uint64_t kKvRunBytes = 4 << 20;
inline constexpr uint64_t kERunBytes = 512 << 10;

// Requests that wait or run; what exceeds them is refused with a hint when to come again.
inline constexpr size_t kSessionRequests = 1024;
inline constexpr size_t kServerRequests = 16384;
inline constexpr uint32_t kRetryMs = 20;
inline constexpr size_t kOffersPerConnection = 1024;
inline constexpr size_t kOfferedBlocksPerConnection = 65536;

// What COVERAGE may hold, a connection.
inline constexpr uint64_t kHoldBytes = 256 << 20;

inline constexpr size_t kConnections = 8192;
// Clients have one; another may come before the server knows that it is lost.
inline constexpr size_t kSessionConnections = 8;
inline constexpr size_t kUnauthenticatedConnections = 256;

// A connection that has not proved who it is by then is closed.
inline constexpr absl::Duration kHelloTimeout = absl::Seconds(5);
// A connection whose transfers make no progress for so long is closed: its bytes in flight are others' too.
inline constexpr absl::Duration kStallTimeout = absl::Seconds(10);
inline constexpr absl::Duration kMaxRequestTime = absl::Minutes(10);

// At shutdown, connections stay for so long after their last request has ended: its answer is still on its way.
inline constexpr absl::Duration kLinger = absl::Milliseconds(250);

// How often leases and deadlines are looked at, with requests under way and without.
inline constexpr absl::Duration kBusyTick = absl::Milliseconds(5);
inline constexpr absl::Duration kIdleTick = absl::Milliseconds(200);
// Empty rounds of the loop, transfers under way, before it sleeps until a transport has news. Sleeping costs two system
// calls; spinning takes a core that a client on the same host could use.
inline constexpr int kSpins = 64;

}  // namespace droidspeak::tuning
