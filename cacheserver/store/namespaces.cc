// SPDX-License-Identifier: Apache-2.0
#include "cacheserver/store/namespaces.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "common/base/bytes.h"
#include "common/base/status.h"

namespace droidspeak {
namespace {

constexpr uint32_t kTenantShare = 8;

}  // namespace

float NamespaceEntry::benefit(Kind kind) const {
  const auto hidden = static_cast<float>(row.layout.hidden);
  return std::log2(hidden * hidden * static_cast<float>(row.layout.block_tokens) /
                   static_cast<float>(extent_bytes(kind)));
}

absl::StatusOr<uint32_t> NamespaceTable::Open(uint32_t tenant, const Digest& name, const Layout& layout,
                                              const std::optional<Digest>& model) {
  RETURN_IF_ERROR(layout.Validate());
  for (Kind kind : {Kind::kKv, Kind::kE}) {
    if (layout.extent_bytes(kind) > max_extent_bytes_) {
      return absl::InvalidArgumentError(absl::StrCat("layout: extents of ", FormatBytes(layout.extent_bytes(kind)),
                                                     " are too large for the host pool, expected at most ",
                                                     FormatBytes(max_extent_bytes_)));
    }
  }
  TenantEntry* const owner = tenants_->Find(tenant);
  if (owner == nullptr) return absl::InvalidArgumentError(absl::StrCat("there is no tenant ", tenant));
  absl::MutexLock lock(&mutex_);
  const auto known = by_name_.find(BlockKey{tenant, name});
  if (known != by_name_.end()) {
    const Layout& before = by_id_.at(known->second)->row.layout;
    if (before == layout) return known->second;
    return absl::InvalidArgumentError(
        absl::StrCat("layout: the namespace has ", before.ToString(), ", got ", layout.ToString()));
  }
  if (by_id_.size() >= max_namespaces_) {
    return absl::ResourceExhaustedError(absl::StrCat("the server has its limit of ", max_namespaces_, " namespaces"));
  }
  const auto own = static_cast<size_t>(std::count_if(
      by_id_.begin(), by_id_.end(), [owner](const auto& entry) { return entry.second->tenant == owner; }));
  // Namespaces are never forgotten: one tenant of several must not have them all.
  const size_t share = tenants_->size() > 1 ? std::max<size_t>(max_namespaces_ / kTenantShare, 1) : max_namespaces_;
  const size_t most = std::min<size_t>(owner->quota.namespaces, share);
  if (own >= most) {
    return absl::ResourceExhaustedError(
        absl::StrCat("tenant ", owner->name, " has ", own, " namespaces, the most allowed"));
  }
  const uint32_t id = next_id_++;
  by_id_.emplace(
      id, std::make_unique<NamespaceEntry>(NamespaceRow{id, tenant, name, layout, owner->name, model}, owner, false));
  by_name_.emplace(BlockKey{tenant, name}, id);
  return id;
}

bool NamespaceTable::Restore(const NamespaceRow& row) {
  if (!tenants_->Restore(row.tenant, row.tenant_name)) return false;
  absl::MutexLock lock(&mutex_);
  if (by_id_.contains(row.id) || !by_name_.emplace(BlockKey{row.tenant, row.name}, row.id).second) return false;
  by_id_.emplace(row.id, std::make_unique<NamespaceEntry>(row, tenants_->Find(row.tenant), true));
  next_id_ = std::max(next_id_, row.id + 1);
  return true;
}

std::vector<NamespaceEntry*> NamespaceTable::All() const {
  absl::ReaderMutexLock lock(&mutex_);
  std::vector<NamespaceEntry*> all;
  for (const auto& [id, entry] : by_id_) all.push_back(entry.get());
  std::sort(all.begin(), all.end(),
            [](const NamespaceEntry* a, const NamespaceEntry* b) { return a->row.id < b->row.id; });
  return all;
}

NamespaceEntry* NamespaceTable::Find(uint32_t id) const {
  absl::ReaderMutexLock lock(&mutex_);
  const auto found = by_id_.find(id);
  return found == by_id_.end() ? nullptr : found->second.get();
}

}  // namespace droidspeak
