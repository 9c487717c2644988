// SPDX-License-Identifier: Apache-2.0
// Sessions: what a client holds between OpenSession and CloseSession or the end of its lease.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "cacheserver/quota.h"
#include "cacheserver/service/identity.h"
#include "common/base/steady_now.h"
#include "common/key/digest.h"
#include "common/key/layout.h"
#include "common/transport/hello.h"

namespace droidspeak {

// A namespace as a session opened it. Immutable.
struct SessionNamespace {
  uint32_t id = 0;
  uint32_t store_id = 0;  // the same namespace in the store
  Digest bytes;
  Layout layout;
};

// One session. Owned jointly by the table and by the data connections that authenticated with its key: those check
// ended() and free what they hold. Thread-safe.
class Session {
 public:
  static constexpr size_t kKeyBytes = 32;
  static constexpr size_t kMaxNamespaces = 256;

  // `tenant` is the store's number of identity.tenant. The session ends at `expiry` (steady time) at the latest.
  Session(uint64_t id, std::string key, Identity identity, uint32_t tenant, const Quota& quota, absl::Time expiry);

  uint64_t id() const { return id_; }
  const std::string& key() const { return key_; }
  // The same, as the data plane has it.
  SessionKey data_key() const;
  const Identity& identity() const { return identity_; }
  uint32_t tenant() const { return tenant_; }
  const Quota& quota() const { return quota_; }  // its tenant's

  // True once closed or expired; for good.
  bool ended() const { return ended_.load(std::memory_order_acquire); }

  // What its requests use now. The data thread's alone.
  struct Load {
    uint64_t inflight_bytes = 0;
    size_t requests = 0;
    size_t connections = 0;
  };
  Load load;

  // Opens a namespace, or finds it again: the same bytes have the same number. RESOURCE_EXHAUSTED beyond
  // kMaxNamespaces.
  [[nodiscard]] absl::StatusOr<uint32_t> OpenNamespace(uint32_t store_id, const Digest& bytes, const Layout& layout);
  // Null when the session has no such namespace. Valid as long as the session.
  const SessionNamespace* FindNamespace(uint32_t id) const;

 private:
  friend class SessionTable;

  const uint64_t id_;
  const std::string key_;
  const Identity identity_;
  const uint32_t tenant_;
  const Quota quota_;
  const absl::Time expiry_;
  std::atomic<bool> ended_{false};
  mutable absl::Mutex mutex_;
  absl::Time lease_end_;  // guarded by the table's mutex
  std::vector<std::unique_ptr<SessionNamespace>> namespaces_ ABSL_GUARDED_BY(mutex_);
};

// All sessions of a server. Thread-safe. Times are passed in, so that leases can be tested without waiting; callers use
// a clock that doesn't jump (SteadyNow()).
class SessionTable {
 public:
  struct Limits {
    size_t sessions = 1024;
    absl::Duration lease = absl::Seconds(10);
  };
  // `on_end` is called once for each session that ends, from the thread that ended it, with its id.
  SessionTable(const Limits& limits, std::function<void(uint64_t)> on_end)
      : limits_(limits), on_end_(std::move(on_end)) {}

  absl::Duration lease() const { return limits_.lease; }
  size_t size() const;

  // RESOURCE_EXHAUSTED when there are too many, of all or by this tenant's quota. The session ends with the
  // certificate that identity is from, whatever its lease.
  [[nodiscard]] absl::StatusOr<std::shared_ptr<Session>> Open(const Identity& identity, uint32_t tenant,
                                                              const Quota& quota, absl::Time now);
  // For the control plane. NOT_FOUND for a session that is not there, has ended, is another tenant's, or has another
  // key: the same answer, so that nothing can be learnt about others' sessions.
  [[nodiscard]] absl::StatusOr<std::shared_ptr<Session>> Authenticate(uint64_t id, std::string_view key,
                                                                      const std::string& tenant) const;
  // For the hello, which proves the key itself. Null when there is none.
  std::shared_ptr<Session> Find(uint64_t id) const;
  void Renew(const Session& session, absl::Time now);
  void Close(const Session& session);
  // Ends the sessions whose lease is over and returns how many.
  int ExpireUntil(absl::Time now);

 private:
  const Limits limits_;
  const std::function<void(uint64_t)> on_end_;
  mutable absl::Mutex mutex_;
  absl::flat_hash_map<uint64_t, std::shared_ptr<Session>> sessions_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace droidspeak
