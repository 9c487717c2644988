// SPDX-License-Identifier: Apache-2.0
// The regions that a connection's client has announced, as one end knows them: the only place where a range of the peer
// becomes an address.
#pragma once

#include <cstddef>
#include <cstdint>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/transport/transport.h"

namespace droidspeak {

// Most regions a client may have announced at a time on one connection.
inline constexpr size_t kMaxRegions = 256;

// Not thread-safe. Owns nothing.
class RegionTable {
 public:
  struct Region {
    std::byte* base = nullptr;  // null where the memory isn't mapped at this end
    uint64_t bytes = 0;
  };

  // INVALID_ARGUMENT for no bytes; ALREADY_EXISTS; RESOURCE_EXHAUSTED above kMaxRegions.
  [[nodiscard]] absl::Status Add(uint32_t number, Region region);
  // The region removed. NOT_FOUND.
  [[nodiscard]] absl::StatusOr<Region> Remove(uint32_t number);

  // The address of `range` (offset from null where the region isn't mapped). INVALID_ARGUMENT unless it is one byte or
  // more and lies in an announced region.
  [[nodiscard]] absl::StatusOr<std::byte*> Find(const RemoteRange& range) const;

  const absl::flat_hash_map<uint32_t, Region>& all() const { return regions_; }

 private:
  absl::flat_hash_map<uint32_t, Region> regions_;
};

// For transports that reach memory by its address alone. UNIMPLEMENTED for a device's.
[[nodiscard]] absl::Status CheckHostMemory(const MemoryRegion& memory);

}  // namespace droidspeak
