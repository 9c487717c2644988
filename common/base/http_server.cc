// SPDX-License-Identifier: Apache-2.0
#include "common/base/http_server.h"

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/http_session.h"
#include "common/base/thread.h"

namespace droidspeak {
namespace {

namespace asio = boost::asio;
using tcp = asio::ip::tcp;
using boost::system::error_code;

}  // namespace

// The listener and the thread. The context is shared with the replies that handlers still hold; what they post after
// Stop() never runs.
class HttpServer::Impl {
 public:
  Impl(Routes routes, HttpLimits limits, ErrorBody error_body)
      : sessions_{.routes = std::move(routes),
                  .limits = limits,
                  .error_body = std::move(error_body),
                  .context = std::make_shared<asio::io_context>()} {}

  absl::Status Bind(const HostPort& address) {
    error_code error;
    tcp::resolver resolver(*sessions_.context);
    const auto found = resolver.resolve(address.host, absl::StrCat(address.port), tcp::resolver::passive, error);
    if (!error) {
      const tcp::endpoint endpoint = found.begin()->endpoint();
      acceptor_.open(endpoint.protocol(), error);
      if (!error) acceptor_.set_option(asio::socket_base::reuse_address(true), error);
      if (!error) acceptor_.bind(endpoint, error);
      if (!error) acceptor_.listen(asio::socket_base::max_listen_connections, error);
    }
    if (error) {
      return absl::UnavailableError(absl::StrCat("can't listen on ", address.ToString(), ": ", error.message()));
    }
    address_ = {address.host, acceptor_.local_endpoint().port()};
    return absl::OkStatus();
  }

  void Serve() {
    Accept();
    thread_.emplace("http", [this](const std::stop_token& stop) {
      const std::stop_callback end(stop, [this] { asio::post(*sessions_.context, [this] { End(); }); });
      sessions_.context->run();
    });
  }

  void Drain() {
    asio::post(*sessions_.context, [this] {
      StopAccepting();
      for (const auto& session : Open()) {
        if (session->Idle()) session->Close();
      }
    });
  }

  // A connection that was accepted before Drain took effect is counted before: both happen on the server's thread.
  bool WaitIdle(absl::Time deadline) {
    absl::MutexLock lock(&sessions_.mutex);
    const auto none = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(sessions_.mutex) { return sessions_.count == 0; };
    return sessions_.mutex.AwaitWithDeadline(absl::Condition(&none), deadline);
  }

  void Stop() { thread_.reset(); }

  const HostPort& address() const { return address_; }

 private:
  void Accept() {
    acceptor_.async_accept([this](error_code error, tcp::socket socket) {
      if (!acceptor_.is_open()) return;
      if (error) return AcceptLater();
      if (sessions_.open.size() < static_cast<size_t>(sessions_.limits.connections)) {
        const auto session = std::make_shared<HttpSession>(std::move(socket), sessions_);
        sessions_.open.insert(session);
        sessions_.Count();
        session->Start();
      }
      Accept();
    });
  }

  // After a failed accept, which is most likely one for want of descriptors.
  void AcceptLater() {
    retry_.expires_after(std::chrono::milliseconds(100));
    retry_.async_wait([this](error_code) {
      if (acceptor_.is_open()) Accept();
    });
  }

  void StopAccepting() {
    sessions_.draining = true;
    error_code ignored;
    acceptor_.close(ignored);
    retry_.cancel();
  }

  // The thread ends when it has no operations left, so that none of them, with the session it owns, stays behind in a
  // context that replies may keep alive.
  void End() {
    StopAccepting();
    for (const auto& session : Open()) session->Close();
    work_.reset();
  }

  // Which Close() changes.
  std::vector<std::shared_ptr<HttpSession>> Open() const { return {sessions_.open.begin(), sessions_.open.end()}; }

  HttpSessions sessions_;
  asio::executor_work_guard<asio::io_context::executor_type> work_{sessions_.context->get_executor()};
  tcp::acceptor acceptor_{*sessions_.context};
  asio::steady_timer retry_{*sessions_.context};
  HostPort address_;
  std::optional<Thread> thread_;
};

HttpRoute GetRoute(std::function<HttpResponse()> handler) {
  return {.handler = [handler = std::move(handler)](const HttpRequest&, const std::shared_ptr<HttpReply>& reply) {
    reply->Send(handler());
  }};
}

absl::StatusOr<std::unique_ptr<HttpServer>> HttpServer::Start(const HostPort& address, Routes routes, HttpLimits limits,
                                                              ErrorBody error_body) {
  auto impl = std::make_unique<Impl>(std::move(routes), limits, std::move(error_body));
  if (absl::Status status = impl->Bind(address); !status.ok()) return status;
  impl->Serve();
  return std::unique_ptr<HttpServer>(new HttpServer(std::move(impl)));
}

HttpServer::HttpServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
HttpServer::~HttpServer() {
  Stop();
}

const HostPort& HttpServer::address() const {
  return impl_->address();
}

void HttpServer::Drain() {
  impl_->Drain();
}

bool HttpServer::WaitIdle(absl::Time deadline) {
  return impl_->WaitIdle(deadline);
}

void HttpServer::Stop() {
  impl_->Stop();
}

}  // namespace droidspeak
