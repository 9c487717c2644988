// SPDX-License-Identifier: Apache-2.0
// The data plane: one thread that drives all connections of all transports.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "cacheserver/service/service_metrics.h"
#include "cacheserver/service/session_table.h"
#include "cacheserver/store.h"
#include "common/base/host_port.h"

namespace droidspeak {

struct DataOptions {
  struct Network {
    std::string transport;
    bool encrypt = false;   // with keys of the sessions
    bool optional = false;  // where it cannot be used, the others will do
  };
  std::vector<Network> networks = {{"tcp"}};  // what serves other hosts, best first
  HostPort listen;                            // of the one that has an address, if any
  bool serve_local = true;
  std::string local_socket;  // empty: /tmp/droidspeak-PORT.sock, named after the port of --data, or after the process
  absl::Duration offer_lease = absl::Seconds(30);
  const std::atomic<bool>* drained = nullptr;  // while it is true no offers are taken; outlives the service
};

// Thread-safe. One thread moves everything: transfers are memory-bound, and a second core helps the clients of a shared
// host more. It spins briefly while bytes are under way, then sleeps until a transport, the store or a clock has news.
class DataService {
 public:
  // Binds all addresses, registers the store's arena with the transports, and starts. What it is given outlives it.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<DataService>> Start(const DataOptions& options,
                                                                          ExtentStore& store, SessionTable& sessions,
                                                                          ServiceMetrics& metrics);
  ~DataService();
  DataService(const DataService&) = delete;
  DataService& operator=(const DataService&) = delete;

  // What clients connect to, best first. HOST of an address is the one listened on.
  struct Served {
    std::string transport;
    std::string address;
    bool encrypted = false;
  };
  const std::vector<Served>& served() const;

  // The answer of a transport to a client that has to be introduced (Worker::Answer).
  [[nodiscard]] absl::StatusOr<std::string> Introduce(const std::string& transport, const std::string& words);

  // Looks at sessions now rather than at the next tick.
  void Wake();
  uint64_t inflight_bytes() const;

  // Refuses new requests, lets those under way end until `grace` is over, closes all connections and joins the thread.
  // Idempotent.
  void Stop(absl::Duration grace);

 private:
  class Loop;
  explicit DataService(std::unique_ptr<Loop> loop);
  std::unique_ptr<Loop> loop_;
};

}  // namespace droidspeak
