// SPDX-License-Identifier: Apache-2.0
// What a tenant may take of a server.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"

namespace droidspeak {

// A tenant within its quota loses nothing to others as long as the quotas of all add up to no more than the server has.
struct Quota {
  uint64_t host_bytes = std::numeric_limits<uint64_t>::max();        // of extents in host memory
  uint64_t spill_bytes = std::numeric_limits<uint64_t>::max();       // of extents in RocksDB
  uint64_t bytes_per_second = std::numeric_limits<uint64_t>::max();  // fetched and stored
  size_t sessions = std::numeric_limits<size_t>::max();
  size_t namespaces = std::numeric_limits<size_t>::max();
};

// Who has which quota. Immutable once made.
class Quotas {
 public:
  // Each text is "TENANT KEY=VALUE ...": TENANT a name, or * for all that have none of their own, each for itself; KEY
  // one of host-pool, spill, bandwidth (bytes a second), sessions, namespaces; what is left out is without limit.
  // INVALID_ARGUMENT names what is wrong.
  [[nodiscard]] static absl::StatusOr<Quotas> Parse(const std::vector<std::string>& texts);

  const Quota& Of(const std::string& tenant) const;

 private:
  Quota others_;
  absl::flat_hash_map<std::string, Quota> by_tenant_;
};

}  // namespace droidspeak
