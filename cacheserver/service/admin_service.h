// SPDX-License-Identifier: Apache-2.0
// What droidspeak-ctl asks of a server: a gRPC service on the control plane's address.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "cacheserver/service/identity.h"
#include "cacheserver/service/service_metrics.h"
#include "cacheserver/service/session_table.h"
#include "cacheserver/store.h"
#include "grpcpp/impl/codegen/service_type.h"

namespace droidspeak {

// What only the server as a whole knows.
struct ServerState {
  bool ready = false;
  std::string degraded;
  uint64_t inflight_bytes = 0;
};

struct AdminContext {
  std::string server_name;
  uint64_t epoch = 0;
  std::shared_ptr<const IdentityRules> identity;  // null without TLS: everybody who can connect has all roles
  SessionTable& sessions;
  ExtentStore& store;
  ServiceMetrics& metrics;
  std::function<ServerState()> state;
  std::atomic<bool>& drained;  // set and taken back by Drain
};

// Thread-safe; what the context refers to outlives it. Calls that look through the whole index run one at a time, so
// that they never take the threads that sessions need: the next one is told UNAVAILABLE meanwhile.
std::unique_ptr<grpc::Service> MakeAdminService(AdminContext context);

}  // namespace droidspeak
