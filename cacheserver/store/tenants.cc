// SPDX-License-Identifier: Apache-2.0
#include "cacheserver/store/tenants.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace droidspeak {

TenantEntry* TenantTable::Add(uint32_t id, const std::string& name) {
  by_name_.emplace(name, id);
  return by_id_.emplace(id, std::make_unique<TenantEntry>(id, name, quotas_.Of(name))).first->second.get();
}

absl::StatusOr<uint32_t> TenantTable::Open(const std::string& name) {
  absl::MutexLock lock(&mutex_);
  const auto known = by_name_.find(name);
  if (known != by_name_.end()) return known->second;
  if (by_id_.size() >= max_tenants_) {
    return absl::ResourceExhaustedError(absl::StrCat("the server has its limit of ", max_tenants_, " tenants"));
  }
  uint32_t id = 0;
  while (by_id_.contains(id)) ++id;
  return Add(id, name)->id;
}

bool TenantTable::Restore(uint32_t id, const std::string& name) {
  absl::MutexLock lock(&mutex_);
  const auto by_id = by_id_.find(id);
  if (by_id != by_id_.end()) return by_id->second->name == name;
  if (by_name_.contains(name)) return false;
  Add(id, name);
  return true;
}

TenantEntry* TenantTable::Find(uint32_t id) const {
  absl::ReaderMutexLock lock(&mutex_);
  const auto found = by_id_.find(id);
  return found == by_id_.end() ? nullptr : found->second.get();
}

size_t TenantTable::size() const {
  absl::ReaderMutexLock lock(&mutex_);
  return by_id_.size();
}

std::vector<TenantEntry*> TenantTable::All() const {
  absl::ReaderMutexLock lock(&mutex_);
  std::vector<TenantEntry*> all;
  for (const auto& [id, entry] : by_id_) all.push_back(entry.get());
  std::sort(all.begin(), all.end(), [](const TenantEntry* a, const TenantEntry* b) { return a->name < b->name; });
  return all;
}

}  // namespace droidspeak
