// SPDX-License-Identifier: Apache-2.0
#include "common/base/http_server.h"

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <chrono>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/thread.h"

namespace droidspeak {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using tcp = asio::ip::tcp;
using Response = http::response<http::string_body>;

// What sessions share; owned by the server, used on its thread only.
struct Shared {
  HttpServer::Routes routes;
  HttpLimits limits;
  int open_connections = 0;
};

Response Answer(const Shared& shared, const http::request<http::empty_body>& request) {
  HttpResponse answer;
  const std::string target(request.target());
  const auto route = shared.routes.find(target.substr(0, target.find('?')));
  if (request.method() != http::verb::get && request.method() != http::verb::head) {
    answer = {405, answer.content_type, "only GET and HEAD are allowed\n"};
  } else if (route == shared.routes.end()) {
    answer = {404, answer.content_type, "not found\n"};
  } else {
    answer = route->second();
  }
  Response response(static_cast<http::status>(answer.status), request.version());
  response.set(http::field::content_type, answer.content_type);
  response.keep_alive(request.keep_alive());
  response.body() = std::move(answer.body);
  response.prepare_payload();
  if (request.method() == http::verb::head) response.body().clear();
  return response;
}

// One connection. Lives as long as an operation on it is under way; every operation has a time-out.
class Session : public std::enable_shared_from_this<Session> {
 public:
  Session(tcp::socket socket, Shared& shared) : stream_(std::move(socket)), shared_(shared) {
    ++shared_.open_connections;
  }
  ~Session() { --shared_.open_connections; }

  void Read() {
    parser_.emplace();
    parser_->header_limit(static_cast<uint32_t>(shared_.limits.header_bytes));
    parser_->body_limit(0);
    stream_.expires_after(std::chrono::milliseconds(shared_.limits.request_timeout_ms));
    http::async_read(stream_, buffer_, *parser_, [self = shared_from_this()](beast::error_code error, size_t) {
      if (!error) self->Write();  // else the peer is gone, late or sent what is no small request: closed by destruction
    });
  }

 private:
  void Write() {
    response_ = Answer(shared_, parser_->get());
    stream_.expires_after(std::chrono::milliseconds(shared_.limits.request_timeout_ms));
    http::async_write(stream_, response_, [self = shared_from_this()](beast::error_code error, size_t) {
      if (!error && self->response_.keep_alive()) self->Read();
    });
  }

  beast::tcp_stream stream_;
  Shared& shared_;
  beast::flat_buffer buffer_{64 * 1024};
  std::optional<http::request_parser<http::empty_body>> parser_;
  Response response_;
};

}  // namespace

class HttpServer::Impl {
 public:
  Impl(Routes routes, HttpLimits limits) : shared_{std::move(routes), limits}, acceptor_(context_) {}

  absl::Status Bind(const HostPort& address) {
    beast::error_code error;
    tcp::resolver resolver(context_);
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
    thread_.emplace("http", [this](const std::stop_token&) { context_.run(); });
  }

  void Stop() {
    context_.stop();
    thread_.reset();
    beast::error_code ignored;
    acceptor_.close(ignored);
  }

  const HostPort& address() const { return address_; }

 private:
  void Accept() {
    acceptor_.async_accept([this](beast::error_code error, tcp::socket socket) {
      if (error == asio::error::operation_aborted) return;
      if (error) return AcceptLater();
      if (shared_.open_connections < shared_.limits.connections) {
        std::make_shared<Session>(std::move(socket), shared_)->Read();
      }
      Accept();
    });
  }

  // After a failed accept, which is most likely one for want of descriptors.
  void AcceptLater() {
    retry_.expires_after(std::chrono::milliseconds(100));
    retry_.async_wait([this](beast::error_code error) {
      if (!error) Accept();
    });
  }

  Shared shared_;  // before context_, whose destruction ends the sessions that use it
  asio::io_context context_{1};
  tcp::acceptor acceptor_;
  asio::steady_timer retry_{context_};
  HostPort address_;
  std::optional<Thread> thread_;
};

absl::StatusOr<std::unique_ptr<HttpServer>> HttpServer::Start(const HostPort& address, Routes routes,
                                                              HttpLimits limits) {
  auto impl = std::make_unique<Impl>(std::move(routes), limits);
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

void HttpServer::Stop() {
  impl_->Stop();
}

}  // namespace droidspeak
