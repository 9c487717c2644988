// SPDX-License-Identifier: Apache-2.0
// A whole cache server in one object: the store, the data plane, the control plane, the admin server.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "cacheserver/quota.h"
#include "cacheserver/service/identity.h"
#include "common/base/host_port.h"
#include "common/base/tls_files.h"

namespace droidspeak {

enum class TransportMode { kAuto, kLocal, kTcp, kUcx, kVerbs };

struct ServerOptions {
  std::string name = "cache-0";
  HostPort listen{"127.0.0.1", 7700};
  HostPort data{"127.0.0.1", 7701};
  HostPort admin{"127.0.0.1", 7702};
  std::string advertise;     // host that clients are told for --data; empty: that of --data
  std::string local_socket;  // empty: chosen
  TransportMode transport = TransportMode::kAuto;
  uint64_t host_pool_bytes = uint64_t{1} << 30;
  std::string spill_folder;  // empty: none
  uint64_t spill_limit_bytes = uint64_t{100} << 30;
  absl::Duration default_ttl = absl::InfiniteDuration();
  std::string cluster_secret_file;
  absl::Duration lease = absl::Seconds(10);  // of a session
  size_t max_sessions = 1024;
  absl::Duration offer_lease = absl::Seconds(30);
  TlsFiles tls;                                   // empty: no TLS
  std::shared_ptr<const IdentityRules> identity;  // with TLS
  Quotas quotas;
};

// Addresses as chosen, with ports; empty where a transport isn't served.
struct ServerAddresses {
  std::string listen;
  std::string data;
  std::string admin;
  std::string local_socket;
};

// Thread-safe. Owns all threads, memory and files of the server.
class CacheServer {
 public:
  // Opens the store and starts everything; the error says what could not be had.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<CacheServer>> Start(const ServerOptions& options);
  ~CacheServer();
  CacheServer(const CacheServer&) = delete;
  CacheServer& operator=(const CacheServer&) = delete;

  const ServerAddresses& addresses() const;

  // Refuses new work, lets requests under way end until `grace` is over, then cuts them off; spills what fits and
  // closes the store. Idempotent; returns what went wrong with the store.
  absl::Status Stop(absl::Duration grace);

 private:
  class Parts;
  explicit CacheServer(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts_;
};

}  // namespace droidspeak
