// SPDX-License-Identifier: Apache-2.0
// A server whose requests a test answers itself, from its own thread.
#pragma once

#include <deque>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "common/base/http_server.h"
#include "gtest/gtest.h"
#include "tests/common/http_client.h"

namespace droidspeak {

using Reply = std::shared_ptr<HttpReply>;

// The requests that came, in their order, for the test's thread to answer.
class Requests {
 public:
  void Add(const HttpRequest& request, Reply reply) {
    absl::MutexLock lock(&mutex_);
    requests_.emplace_back(request, std::move(reply));
  }
  std::pair<HttpRequest, Reply> Next() {
    absl::MutexLock lock(&mutex_);
    const auto any = [this] { return !requests_.empty(); };
    if (!mutex_.AwaitWithTimeout(absl::Condition(&any), absl::FromChrono(kWaitLimit))) {
      ADD_FAILURE() << "no request came";
      return {};
    }
    std::pair<HttpRequest, Reply> next = std::move(requests_.front());
    requests_.pop_front();
    return next;
  }
  bool empty() {
    absl::MutexLock lock(&mutex_);
    return requests_.empty();
  }

 private:
  absl::Mutex mutex_;
  std::deque<std::pair<HttpRequest, Reply>> requests_;
};

class HttpLaterFixture : public ::testing::Test {
 protected:
  void Start(HttpLimits limits = {}) {
    limits.body_bytes = 1000;
    const auto later = [this](const HttpRequest& request, Reply reply) { requests_.Add(request, std::move(reply)); };
    HttpServer::Routes routes;
    routes["/get"] = {.handler = later};
    routes["/post"] = {.post = true, .handler = later};
    routes["/now"] = GetRoute([] { return HttpResponse{.body = "now"}; });
    server_ = HttpServer::Start({"127.0.0.1", 0}, routes, limits, [](int status, const std::string& message) {
                return HttpResponse{.body = absl::StrCat("error ", status, ": ", message)};
              }).value();
    client_ = std::make_unique<HttpClient>(server_->address());
  }
  // Sends a request and has its reply.
  Reply Ask(const std::string& request) {
    client_->Send(request);
    return requests_.Next().second;
  }

  Requests requests_;
  std::unique_ptr<HttpServer> server_;
  std::unique_ptr<HttpClient> client_;
};

inline constexpr char kGet[] = "GET /get HTTP/1.1\r\n\r\n";

}  // namespace droidspeak
