// SPDX-License-Identifier: Apache-2.0
// The tenants a store knows: small numbers for names, and what each has and may have.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "cacheserver/quota.h"
#include "cacheserver/store/handles.h"

namespace droidspeak {

struct TenantEntry {
  TenantEntry(uint32_t id, std::string name, const Quota& quota) : id(id), name(std::move(name)), quota(quota) {}
  const uint32_t id;
  const std::string name;
  const Quota quota;
  std::array<std::atomic<uint64_t>, kTiers> bytes{};  // that its extents take, by Tier
  std::atomic<uint64_t> filling_bytes{0};             // of slots in host memory that are being filled

  uint64_t bytes_in(Tier tier) const { return bytes[static_cast<size_t>(tier)].load(std::memory_order_relaxed); }
  // Host memory, with what is being filled.
  uint64_t host_bytes() const { return bytes_in(Tier::kHost) + filling_bytes.load(std::memory_order_relaxed); }
  bool HostHasRoom(uint64_t more) const { return host_bytes() + more <= quota.host_bytes; }
  bool SpillHasRoom(uint64_t more) const { return bytes_in(Tier::kRocksdb) + more <= quota.spill_bytes; }
};

// Thread-safe. Entries live as long as the table. After a restart, the number of a tenant that had nothing on disk may
// be another's.
class TenantTable {
 public:
  TenantTable(uint32_t max_tenants, Quotas quotas) : max_tenants_(max_tenants), quotas_(std::move(quotas)) {}

  // The number of a tenant, a new one for a new name. RESOURCE_EXHAUSTED over max_tenants.
  [[nodiscard]] absl::StatusOr<uint32_t> Open(const std::string& name);
  // At recovery. False if its number has another name, or its name another number.
  bool Restore(uint32_t id, const std::string& name);
  // Null for an unknown number.
  TenantEntry* Find(uint32_t id) const;
  std::vector<TenantEntry*> All() const;  // by name
  size_t size() const;

 private:
  TenantEntry* Add(uint32_t id, const std::string& name) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const uint32_t max_tenants_;
  const Quotas quotas_;
  mutable absl::Mutex mutex_;
  absl::flat_hash_map<uint32_t, std::unique_ptr<TenantEntry>> by_id_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_map<std::string, uint32_t> by_name_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace droidspeak
