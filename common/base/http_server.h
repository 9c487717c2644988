// SPDX-License-Identifier: Apache-2.0
// A small HTTP server for health and metrics, apart from the data and control planes.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "common/base/host_port.h"

namespace droidspeak {

struct HttpResponse {
  int status = 200;
  std::string content_type = "text/plain; charset=utf-8";
  std::string body;
};

// Limits on everything: what exceeds them is closed or answered by 4xx/503, so that no client can hold memory or
// threads.
struct HttpLimits {
  int connections = 64;
  int header_bytes = 8 * 1024;
  int request_timeout_ms = 5000;  // for a whole request to arrive, and for its answer to be taken
};

// Serves GET and HEAD of fixed paths on one thread of its own. Handlers run there, one at a time, and must not block
// for long. Stop() and the destructor end it from another thread.
class HttpServer {
 public:
  using Handler = std::function<HttpResponse()>;
  using Routes = std::map<std::string, Handler>;

  // Binds `address` (port 0: any) and serves. UNAVAILABLE names the address when it is in use.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<HttpServer>> Start(const HostPort& address, Routes routes,
                                                                         HttpLimits limits = {});
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  // Where it listens, with the port that was chosen.
  const HostPort& address() const;

  // Closes the listener and all connections and joins the thread. Idempotent.
  void Stop();

 private:
  class Impl;
  explicit HttpServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace droidspeak
