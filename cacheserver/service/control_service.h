// SPDX-License-Identifier: Apache-2.0
// The control plane: sessions and namespaces over gRPC.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "cacheserver/quota.h"
#include "cacheserver/service/admin_service.h"
#include "cacheserver/service/cluster_secret.h"
#include "cacheserver/service/identity.h"
#include "cacheserver/service/service_metrics.h"
#include "cacheserver/service/session_table.h"
#include "cacheserver/service/transport_choice.h"
#include "cacheserver/store.h"
#include "common/base/host_port.h"
#include "common/base/tls_files.h"

namespace droidspeak {

inline constexpr uint32_t kProtocolVersion = 1;

struct ControlOptions {
  HostPort listen;
  std::string server_name;
  uint64_t epoch = 0;
  uint64_t max_inflight_bytes = 0;  // a session
  ServedTransports transports;
  Quotas quotas;
  TlsFiles tls;                                   // empty: none
  std::shared_ptr<const IdentityRules> identity;  // with TLS
  std::function<ServerState()> state;             // for the admin service
  // Takes a client's words to the transport of that name, for its answer.
  std::function<absl::StatusOr<std::string>(const std::string& transport, const std::string& words)> introduce;
  std::atomic<bool>* drained = nullptr;  // set by the admin service: no new sessions; outlives the server
};

// Owns the gRPC server and its few threads; answers requests by the secret, the sessions and the store, which
// outlive it.
// Everything a peer can make it hold is bounded: threads, memory, message and metadata sizes, streams, pings.
class ControlServer {
 public:
  // UNAVAILABLE names the address when it is in use.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<ControlServer>> Start(const ControlOptions& options,
                                                                            const ClusterSecret& secret,
                                                                            SessionTable& sessions, ExtentStore& store,
                                                                            ServiceMetrics& metrics);
  ~ControlServer();
  ControlServer(const ControlServer&) = delete;
  ControlServer& operator=(const ControlServer&) = delete;

  // Where it listens, with the port that was chosen.
  const HostPort& address() const;

  // Opens no more sessions; those that are open go on.
  void Drain();
  // Takes no more requests; those under way have until `grace` is over. Idempotent.
  void Stop(absl::Duration grace);

 private:
  class Impl;
  explicit ControlServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace droidspeak
