// SPDX-License-Identifier: Apache-2.0
// A small HTTP/1.1 server: health and metrics of every process, and the API of an engine.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/base/host_port.h"

namespace droidspeak {

struct HttpRequest {
  std::string method;         // "GET", "HEAD" or "POST"
  std::string path;           // without the query
  std::string authorization;  // the header's value; empty without one
  std::string body;
};

struct HttpResponse {
  int status = 200;
  std::string content_type = "text/plain; charset=utf-8";
  std::string body;
};

// One request's answer, whole (Send) or in pieces (Begin, Write, Finish). Thread-safe, never blocks, and may outlive
// the server: nothing happens then. Destroyed before it has answered: 500.
class HttpReply {
 public:
  virtual ~HttpReply() = default;

  virtual void Send(HttpResponse response) = 0;

  virtual void Begin(int status, const std::string& content_type) = 0;
  // Queues a piece. False: the peer has hung up or takes too little of what it is sent (HttpLimits), and nothing more
  // will reach it.
  virtual bool Write(std::string piece) = 0;
  virtual void Finish() = 0;

  // `hung_up` is called once, on the server's thread, when the peer is lost before it has all of the answer; at once
  // (on any thread) if it is lost already. Not called after that.
  virtual void OnHangUp(std::function<void()> hung_up) = 0;
};

// Limits on everything: what exceeds them is closed or answered by 4xx, so that no client can hold memory or threads.
struct HttpLimits {
  int connections = 64;
  int header_bytes = 8 * 1024;
  size_t body_bytes = 0;              // of a POST
  size_t unsent_bytes = 1024 * 1024;  // of an answer in pieces that its peer has not taken: more, and it is cut off
  int request_timeout_ms = 5000;      // for a whole request to arrive, and for each part of an answer to be taken
};

// What a path takes, and who answers. Handlers run on the server's thread and must not block for long; an answer may be
// given later, from any thread.
struct HttpRoute {
  bool post = false;  // POST; otherwise GET and HEAD
  std::function<void(const HttpRequest&, std::shared_ptr<HttpReply>)> handler;
};
// A GET that is answered at once.
[[nodiscard]] HttpRoute GetRoute(std::function<HttpResponse()> handler);

// Serves fixed paths on one thread of its own. Stop() and the destructor end it from another thread.
class HttpServer {
 public:
  using Routes = std::map<std::string, HttpRoute>;
  // What the server itself answers to a request that it refuses: 400 (not HTTP, or HTTP it can't take), 404, 405, 411,
  // 413, 431; `message` says what is wrong and what was expected.
  using ErrorBody = std::function<HttpResponse(int status, const std::string& message)>;

  // Binds `address` (port 0: any) and serves. UNAVAILABLE names the address when it is in use. Without `error_body`
  // errors are plain text.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<HttpServer>> Start(const HostPort& address, Routes routes,
                                                                         HttpLimits limits = {},
                                                                         ErrorBody error_body = nullptr);
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  // Where it listens, with the port that was chosen.
  const HostPort& address() const;

  // Takes no new connections, and closes each one when its answer is complete.
  void Drain();
  // After Drain: waits until the last connection is closed; false when one was not by `deadline`.
  bool WaitIdle(absl::Time deadline);
  // Closes the listener and all connections and joins the thread. Idempotent.
  void Stop();

 private:
  class Impl;
  explicit HttpServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace droidspeak
