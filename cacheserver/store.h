// SPDX-License-Identifier: Apache-2.0
// The cache of a server: extents in host memory and RocksDB, found by block hash. What the service is built on.
//
// Life of a fill: MakeOffer() → per wanted extent AllocateFill() → the service pulls and verifies the bytes →
// FillSlot::Commit() → Seal(). Life of a read: Acquire() → per extent ReadHost(), else Load() → drop the references.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "cacheserver/quota.h"
#include "cacheserver/store/census.h"
#include "cacheserver/store/handles.h"
#include "common/key/digest.h"
#include "common/key/kind.h"
#include "common/key/layout.h"
#include "common/memory/host_arena.h"
#include "common/transport/messages.h"

namespace rocksdb {
class Env;
}

namespace droidspeak {

// The two clocks of the store; tests put their own. Leases and ages use `steady`; `wall` is read once, at Open(), and
// anchors expiry times, so that a jump of it expires nothing.
struct StoreClock {
  std::function<absl::Duration()> steady;  // since some fixed moment
  std::function<absl::Time()> wall;
  static StoreClock System();
};

struct StoreOptions {
  uint64_t host_pool_bytes = uint64_t{4} << 30;  // all of it is one arena; an eighth is the reserve for staging
  std::string spill_dir;  // the RocksDB tier lies in its subfolder `rocksdb`; empty: no such tier
  uint64_t spill_limit_bytes = uint64_t{100} << 30;
  Digest cluster_secret_id;  // kept in the store on disk; a store of another secret is refused
  absl::Duration default_ttl = absl::InfiniteDuration();
  uint64_t max_blocks = 16 << 20;  // in the index
  uint32_t max_tenants = 1024;
  Quotas quotas;
  uint32_t max_namespaces = 4096;
  uint32_t max_offers = 65536;  // open at one time
  // What a write to disk waits for a compaction to make room.
  absl::Duration room_patience = absl::Seconds(2);
  uint32_t max_queued_loads = 1 << 18;  // waiting for an I/O thread or a staging buffer
  // One read each at a time: so that eight are in the disk's queue while others copy and verify.
  int io_threads = 12;
  StoreClock clock = StoreClock::System();
  rocksdb::Env* env = nullptr;  // file system of the RocksDB tier; null: the machine's. Outlives the store.
};

// For metrics; a snapshot. Indexed by Tier, then Kind.
struct StoreStats {
  struct TierStats {
    std::array<uint64_t, 2> extents{};
    std::array<uint64_t, 2> bytes{};
    uint64_t capacity_bytes = 0;
  };
  std::array<TierStats, kTiers> tiers;
  uint64_t blocks = 0;
  uint64_t host_to_rocksdb = 0;  // extents that left host memory and stay in RocksDB
  uint64_t host_to_gone = 0;     // extents lost when they left host memory
  uint64_t rocksdb_to_gone = 0;  // extents that left RocksDB (a copy in host memory may stay)
  uint64_t expired = 0;          // blocks
  uint64_t checksum_errors = 0;  // RocksDB values whose header or bytes were not what was written
  uint64_t staging_bytes = 0;    // of the reserve, in use
  uint64_t queued_loads = 0;
};

// Thread-safe. Owns the arena, the index, the RocksDB tier and its threads: N I/O threads for loads, one for
// maintenance (spill, eviction, expiry; all writes to RocksDB), one for durable seals. No function waits for I/O but
// Open(), Drain(), RemoveAll(), Close(). Callbacks run on the caller's thread when the answer is there at once, else on
// one of the store's threads; they must not block, and must not destroy the store.
//
// `tenant` is part of the index's key: another tenant's blocks are misses by construction.
class ExtentStore {
 public:
  using LoadCallback = std::function<void(absl::StatusOr<HostExtent>)>;
  using FillCallback = std::function<void(absl::StatusOr<FillSlot>)>;
  using SealCallback = std::function<void(absl::Status)>;

  // Opens or creates the store and rebuilds the index from what RocksDB has. FAILED_PRECONDITION names what differs
  // when the folder holds a store of another format version or cluster secret; RESOURCE_EXHAUSTED without memory.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<ExtentStore>> Open(StoreOptions options);
  // Close()s. All references, extents and slots are to be destroyed before.
  ~ExtentStore();

  // The memory of all extents and staging buffers, for transports to register.
  const HostArena& arena() const;

  // The number by which the calls below know a tenant; the same for the same name, also after a restart when something
  // of it was spilled. RESOURCE_EXHAUSTED over max_tenants.
  [[nodiscard]] absl::StatusOr<uint32_t> OpenTenant(const std::string& name);

  // The id by which the calls below know a namespace; the same for the same arguments, also after a restart when
  // something of it was spilled. INVALID_ARGUMENT when the layout differs from what is known or its extents are too
  // large for the pool; RESOURCE_EXHAUSTED over max_namespaces, or the tenant's quota of them.
  // `model` is remembered with it, for operators.
  [[nodiscard]] absl::StatusOr<uint32_t> OpenNamespace(uint32_t tenant, const Digest& name, const Layout& layout,
                                                       const std::optional<Digest>& model = std::nullopt);

  // Which layers of each block are there, in any tier. Unknown blocks have none.
  void Coverage(uint32_t tenant, uint32_t namespace_id, absl::Span<const Digest> blocks,
                absl::Span<wire::BlockCoverage> out) const;

  // Takes references on the leading run of `blocks` in which everything `wanted` is there: none of its extents leaves
  // its tier by eviction while they are held. May be empty. Counts as a use of these extents.
  Acquired Acquire(uint32_t tenant, uint32_t namespace_id, absl::Span<const Digest> blocks,
                   absl::Span<const ExtentSelector> wanted);

  // The extent's bytes if they are in host memory: valid until `references` is destroyed. `block` < references.size().
  std::optional<HostExtent> ReadHost(const References& references, size_t block, ExtentSelector extent) const;

  // The extent's bytes, from RocksDB if need be: promoted into the pool if it is worth that, or in a staging
  // buffer. Staging buffers are few: a load waits for one until others' HostExtents are destroyed, so *send what has
  // arrived while waiting for the rest*; then a fetch larger than the pool goes through. `references` must live until
  // the callback and until the HostExtent is destroyed. NOT_FOUND: missing or corrupt, a miss from now on; UNAVAILABLE:
  // an I/O error or the store is closing; RESOURCE_EXHAUSTED: more than max_queued_loads.
  void Load(const References& references, size_t block, ExtentSelector extent, LoadCallback done);

  struct OfferResult {
    OfferPtr offer;
    std::vector<wire::BlockOffer> blocks;  // neither want nor busy: there already
  };
  // Offers layers `kv` and `e` of each block of a chain. One filler an extent: what is wanted is this offer's to fill
  // until Seal(), DropOwner() or the lease's end; AllocateFill() and Commit() renew the lease. INVALID_ARGUMENT:
  // unknown namespace or layers beyond its layout; RESOURCE_EXHAUSTED: too many blocks or offers.
  [[nodiscard]] absl::StatusOr<OfferResult> MakeOffer(OwnerId owner, uint32_t tenant, uint32_t namespace_id,
                                                      absl::Span<const wire::OfferBlock> blocks,
                                                      const wire::LayerBits& kv, const wire::LayerBits& e,
                                                      absl::Duration lease);

  // A slot for an extent that the offer wants; `block` indexes the offer's blocks. Evicts when the pool is full.
  // FAILED_PRECONDITION: not wanted, or has a slot already; DEADLINE_EXCEEDED: the offer has ended;
  // RESOURCE_EXHAUSTED: nothing can be evicted.
  void AllocateFill(const OfferPtr& offer, size_t block, ExtentSelector extent, FillCallback done);

  // Ends the offer: what has no committed fill is free for others. With `durable`, OK only after every offered extent
  // that is there is in RocksDB and synced: FAILED_PRECONDITION without such a tier, UNAVAILABLE when it is degraded,
  // RESOURCE_EXHAUSTED when something that was filled could not be kept. FillSlots still out may not be committed.
  void Seal(const OfferPtr& offer, bool durable, SealCallback done);

  // Pins keep blocks from eviction until unpinned or DropOwner(). Return how many blocks changed; unknown ones don't.
  // RESOURCE_EXHAUSTED, and nothing changes, when more than a tenth of the store's capacity, or of what the tenant's
  // quotas leave it of that, would be pinned. Pins of kOperator are there again after a restart.
  [[nodiscard]] absl::StatusOr<uint32_t> Pin(OwnerId owner, uint32_t tenant, uint32_t namespace_id,
                                             absl::Span<const Digest> blocks);
  uint32_t Unpin(OwnerId owner, uint32_t tenant, uint32_t namespace_id, absl::Span<const Digest> blocks);
  // Removes blocks from all tiers, pinned ones too. Readers that hold references finish undisturbed.
  uint32_t Remove(uint32_t tenant, uint32_t namespace_id, absl::Span<const Digest> blocks);

  // Ends all offers and pins of an owner (a session that closed or expired).
  void DropOwner(OwnerId owner);

  // For operators; these span tenants (see census.h).
  std::vector<TenantInfo> Tenants() const;
  std::vector<NamespaceInfo> Namespaces() const;
  absl::flat_hash_map<uint32_t, NamespaceUse> CountNamespaces() const;
  std::vector<BlockInfo> ListBlocks(const NamespaceInfo& space, const std::optional<Digest>& after, size_t limit) const;
  std::optional<BlockInfo> FindBlock(const NamespaceInfo& space, const Digest& hash) const;
  // Pin, Unpin and Remove of all blocks that a namespace has at the call.
  [[nodiscard]] absl::StatusOr<uint32_t> PinAll(OwnerId owner, const NamespaceInfo& space);
  uint32_t UnpinAll(OwnerId owner, const NamespaceInfo& space);
  uint32_t RemoveAll(const NamespaceInfo& space);
  // `done` with OK when all removals and operator's pins before the call survive a crash; at once without a RocksDB
  // tier. UNAVAILABLE when it is degraded.
  void Sync(SealCallback done);

  StoreStats stats() const;
  // Why the RocksDB tier does not take or give extents (disk full, I/O errors); nothing when all is well. It keeps
  // serving from memory and recovers by itself.
  std::optional<std::string> degraded() const;

  // Waits until the background work that was due at the call is done: expiry, eviction down to the low mark, queued
  // seals and removals.
  void Drain();

  // Spills all that fits, syncs, stops the threads. Calls after it fail or miss; pending callbacks get UNAVAILABLE.
  // Idempotent; returns what went wrong while spilling.
  absl::Status Close();

 private:
  class Impl;
  explicit ExtentStore(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace droidspeak
