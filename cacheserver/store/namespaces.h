// SPDX-License-Identifier: Apache-2.0
// The namespaces a store knows: small ids for digests, and what their extents measure.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "cacheserver/store/tenants.h"
#include "cacheserver/tiers/records.h"
#include "common/memory/slab_pool.h"

namespace droidspeak {

struct NamespaceEntry {
  static constexpr uint64_t kRowShareBytes = 256;

  NamespaceEntry(const NamespaceRow& row, TenantEntry* tenant, bool on_disk)
      : row(row), tenant(tenant), on_disk(on_disk) {}
  const NamespaceRow row;
  TenantEntry* const tenant;  // not owned
  std::atomic<bool> on_disk;  // its row is in RocksDB; written by the maintenance thread

  uint64_t extent_bytes(Kind kind) const { return row.layout.extent_bytes(kind); }
  // What an extent takes of a tier, and of its tenant's quota: slots are rounded up, rows on disk have a share of one.
  uint64_t taken_bytes(Tier tier, Kind kind) const {
    return tier == Tier::kHost ? SlabPool::SlotBytes(extent_bytes(kind)) : extent_bytes(kind) + kRowShareBytes;
  }
  // log2 of what a byte of an extent saves when it need not be computed, up to what is the same for all models: a layer
  // costs a number of multiplications a token that grows with the square of its width.
  float benefit(Kind kind) const;
};

// Thread-safe. Entries live as long as the table; ids are never reused.
class NamespaceTable {
 public:
  // `tenants` outlives the table.
  NamespaceTable(TenantTable* tenants, uint32_t max_namespaces, uint64_t max_extent_bytes)
      : tenants_(tenants), max_namespaces_(max_namespaces), max_extent_bytes_(max_extent_bytes) {}

  // The errors are ExtentStore::OpenNamespace's.
  [[nodiscard]] absl::StatusOr<uint32_t> Open(uint32_t tenant, const Digest& name, const Layout& layout,
                                              const std::optional<Digest>& model);
  // At recovery. False if its id or name is there already, or its tenant contradicts what is known.
  bool Restore(const NamespaceRow& row);
  // Null for an unknown id.
  NamespaceEntry* Find(uint32_t id) const;
  // By id.
  std::vector<NamespaceEntry*> All() const;

 private:
  TenantTable* const tenants_;
  const uint32_t max_namespaces_;
  const uint64_t max_extent_bytes_;
  mutable absl::Mutex mutex_;
  absl::flat_hash_map<uint32_t, std::unique_ptr<NamespaceEntry>> by_id_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_map<BlockKey, uint32_t> by_name_ ABSL_GUARDED_BY(mutex_);  // (tenant, name)
  uint32_t next_id_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace droidspeak
