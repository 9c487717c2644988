// SPDX-License-Identifier: Apache-2.0
// What `droidspeak-bench spill` does with the RocksDB tier: write, read, seal durably, evict, recover.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "cacheserver/store.h"
#include "cacheserver/tiers/rocksdb_tier.h"
#include "common/key/layout.h"
#include "common/memory/host_arena.h"

namespace droidspeak::bench {

struct SpillShape {
  uint64_t extent_bytes = 1 << 20;
  uint64_t total_bytes = uint64_t{2} << 30;
  uint64_t sync_bytes = 64 << 20;  // durably sealed at a time
  int readers = StoreOptions{}.io_threads;
  uint64_t extents() const { return total_bytes / extent_bytes; }
};

// Extents a block: what is evicted together.
inline constexpr int kSpillLayers = 8;

// The tier alone, in a folder that goes with the object. Not thread-safe. All results are bytes a second.
class TierLoad {
 public:
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<TierLoad>> Create(std::string folder, const SpillShape& shape);
  ~TierLoad();

  // Writes everything into an empty store, and syncs: at the end, or each `sync_bytes`.
  [[nodiscard]] absl::StatusOr<double> Write(bool durable);
  // Reads what Write() wrote in random order, verified, each reader into memory of its own.
  [[nodiscard]] absl::StatusOr<double> Read();

 private:
  TierLoad(std::string folder, const SpillShape& shape, std::unique_ptr<HostArena> arena);
  absl::Status Reopen();
  BlockRow RowOf(uint64_t block) const;
  const std::byte* Source(uint64_t extent) const;
  absl::Status ReadShare(int reader, const std::vector<uint32_t>& order);

  const std::string folder_;
  const SpillShape shape_;
  const std::unique_ptr<HostArena> arena_;
  std::vector<uint64_t> checksums_;  // of each extent
  std::unique_ptr<RocksdbTier> tier_;
};

struct SteadyFigures {
  double bytes_a_second = 0;  // that went to disk while as much left it
  double amplification = 0;   // most of: bytes of the folder on disk / bytes of live extents
  double limit_share = 0;     // most of: bytes of the folder on disk / limit
  double lost_share = 0;      // of the extents that left host memory, those that went nowhere
};
// A store with a small pool and a full disk tier of `limit_bytes`, filled with twice that: each extent that goes to
// disk makes another leave it.
[[nodiscard]] absl::StatusOr<SteadyFigures> EvictSteadily(const std::string& folder, const SpillShape& shape,
                                                          uint64_t limit_bytes);

struct RecoveryFigures {
  double rows_a_second = 0;  // a row is a block
  double extents_a_second = 0;
};
// Makes a directory of `rows` blocks of 32 extents each and opens a store on it, as often as `repeats` says.
[[nodiscard]] absl::StatusOr<std::vector<RecoveryFigures>> Recover(const std::string& folder, uint64_t rows,
                                                                   int repeats);

}  // namespace droidspeak::bench
