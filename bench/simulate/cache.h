// SPDX-License-Identifier: Apache-2.0
// Caches of blocks by several policies, to replay traces on.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "bench/simulate/trace.h"

namespace droidspeak::bench {

// A cache of one tier. Not thread-safe.
class SimulatedCache {
 public:
  virtual ~SimulatedCache() = default;
  // Serves requests[i]; what of it was in the cache: seconds of computing, and bytes.
  struct Found {
    double seconds = 0;
    double bytes = 0;
  };
  virtual Found Serve(uint32_t request) = 0;
};

// What becomes of a block that is not there. Alone: it is gone, it and all that follows it is computed, and kept. Above
// a disk: it is read from there, whatever precedes it, and kept if the policy wants.
enum class Below { kNothing, kDisk };

// `policy`: lru, s3-fifo, gdsf or ours. LRU takes a request's blocks as used from the last on, so that a chain goes
// from its tail. GDSF weighs uses by cost and size; above a disk each byte costs the same. Ours is the server's own
// (eviction_policy.h). NOT_FOUND names them. `trace` outlives the cache, in which its longest request fits.
[[nodiscard]] absl::StatusOr<std::unique_ptr<SimulatedCache>> MakeCache(const std::string& policy, const Trace& trace,
                                                                        uint64_t capacity_bytes, Below below);

}  // namespace droidspeak::bench
