// SPDX-License-Identifier: Apache-2.0
#include "cacheserver/service/session_table.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "cacheserver/service/cluster_secret.h"
#include "common/base/status.h"

namespace droidspeak {
namespace {

bool EqualKeys(std::string_view a, std::string_view b) {
  if (a.size() != b.size()) return false;
  unsigned difference = 0;
  for (size_t i = 0; i < a.size(); ++i) difference |= static_cast<unsigned char>(a[i] ^ b[i]);
  return difference == 0;
}

}  // namespace

Session::Session(uint64_t id, std::string key, Identity identity, uint32_t tenant, const Quota& quota,
                 absl::Time expiry)
    : id_(id), key_(std::move(key)), identity_(std::move(identity)), tenant_(tenant), quota_(quota), expiry_(expiry) {}

SessionKey Session::data_key() const {
  SessionKey key;
  std::copy(key_.begin(), key_.end(), key.begin());
  return key;
}

absl::StatusOr<uint32_t> Session::OpenNamespace(uint32_t store_id, const Digest& bytes, const Layout& layout) {
  absl::MutexLock lock(&mutex_);
  for (const auto& opened : namespaces_) {
    if (opened->bytes == bytes) return opened->id;
  }
  if (namespaces_.size() >= kMaxNamespaces) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the session has ", kMaxNamespaces, " namespaces open, the most allowed"));
  }
  const uint32_t id = static_cast<uint32_t>(namespaces_.size()) + 1;
  namespaces_.push_back(std::make_unique<SessionNamespace>(SessionNamespace{id, store_id, bytes, layout}));
  return id;
}

const SessionNamespace* Session::FindNamespace(uint32_t id) const {
  absl::MutexLock lock(&mutex_);
  return id == 0 || id > namespaces_.size() ? nullptr : namespaces_[id - 1].get();
}

size_t SessionTable::size() const {
  absl::MutexLock lock(&mutex_);
  return sessions_.size();
}

absl::StatusOr<std::shared_ptr<Session>> SessionTable::Open(const Identity& identity, uint32_t tenant,
                                                            const Quota& quota, absl::Time now) {
  ASSIGN_OR_RETURN(std::string random, RandomBytes(sizeof(uint64_t) + Session::kKeyBytes));
  uint64_t id = 0;
  std::memcpy(&id, random.data(), sizeof id);
  absl::MutexLock lock(&mutex_);
  if (sessions_.size() >= limits_.sessions) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the server has ", limits_.sessions, " sessions, the most allowed"));
  }
  const auto own = static_cast<size_t>(std::count_if(
      sessions_.begin(), sessions_.end(), [tenant](const auto& entry) { return entry.second->tenant() == tenant; }));
  if (own >= quota.sessions) {
    return absl::ResourceExhaustedError(
        absl::StrCat("tenant ", identity.tenant, " has ", quota.sessions, " sessions, the most allowed"));
  }
  auto session = std::make_shared<Session>(id, random.substr(sizeof id), identity, tenant, quota,
                                           now + (identity.valid_until - absl::Now()));
  session->lease_end_ = std::min(now + limits_.lease, session->expiry_);
  if (id == 0 || !sessions_.emplace(id, session).second) {
    return absl::UnavailableError("the session's number is taken: try again");
  }
  return session;
}

absl::StatusOr<std::shared_ptr<Session>> SessionTable::Authenticate(uint64_t id, std::string_view key,
                                                                    const std::string& tenant) const {
  std::shared_ptr<Session> session = Find(id);
  if (session == nullptr || session->identity().tenant != tenant || !EqualKeys(session->key(), key)) {
    return absl::NotFoundError("no such session: it was closed, its lease ended, or its key is another");
  }
  return session;
}

std::shared_ptr<Session> SessionTable::Find(uint64_t id) const {
  absl::MutexLock lock(&mutex_);
  const auto found = sessions_.find(id);
  return found == sessions_.end() ? nullptr : found->second;
}

void SessionTable::Renew(const Session& session, absl::Time now) {
  absl::MutexLock lock(&mutex_);
  const auto found = sessions_.find(session.id());
  if (found != sessions_.end()) found->second->lease_end_ = std::min(now + limits_.lease, found->second->expiry_);
}

void SessionTable::Close(const Session& session) {
  {
    absl::MutexLock lock(&mutex_);
    const auto found = sessions_.find(session.id());
    if (found == sessions_.end()) return;
    found->second->ended_.store(true, std::memory_order_release);
    sessions_.erase(found);
  }
  on_end_(session.id());
}

int SessionTable::ExpireUntil(absl::Time now) {
  std::vector<uint64_t> expired;
  {
    absl::MutexLock lock(&mutex_);
    for (auto it = sessions_.begin(); it != sessions_.end();) {
      const auto current = it++;
      if (current->second->lease_end_ > now) continue;
      current->second->ended_.store(true, std::memory_order_release);
      expired.push_back(current->first);
      sessions_.erase(current);
    }
  }
  for (const uint64_t id : expired) on_end_(id);
  return static_cast<int>(expired.size());
}

}  // namespace droidspeak
