// SPDX-License-Identifier: Apache-2.0
#include "common/base/http_session.h"

#include <algorithm>
#include <array>
#include <boost/asio/post.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/string.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/write.hpp>
#include <chrono>
#include <sstream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/hex.h"

namespace droidspeak {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using tcp = asio::ip::tcp;
using std::chrono::milliseconds;

constexpr size_t kBufferBytes = 64 * 1024;
// How much, and for how long, is read and thrown away of a client that still sends when its answer is complete: closed
// at once, its system would reset the connection and might lose the answer.
constexpr size_t kDiscardBytes = 64 * 1024 * 1024;
constexpr int kDiscardMs = 5000;

// Of a request's target, without its query, percent-decoded; what is no escape stays as it is.
std::string PathOf(std::string_view target) {
  target = target.substr(0, target.find('?'));
  std::string path;
  for (size_t i = 0; i < target.size(); ++i) {
    if (target[i] == '%') {
      if (const absl::StatusOr<std::string> byte = FromHex(target.substr(i + 1, 2)); byte.ok() && byte->size() == 1) {
        path += *byte;
        i += 2;
        continue;
      }
    }
    path += target[i];
  }
  return path;
}

constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";

}  // namespace

HttpSession::HttpSession(tcp::socket socket, HttpSessions& sessions)
    : stream_(std::move(socket)),
      sessions_(sessions),
      buffer_(std::max(kBufferBytes, 2 * static_cast<size_t>(sessions.limits.header_bytes))) {}

void HttpSession::Start() {
  beast::error_code ignored;
  stream_.socket().set_option(tcp::no_delay(true), ignored);
  stream_.socket().non_blocking(true, ignored);  // for Peek()
  Read();
}

void HttpSession::Read() {
  parser_ = std::make_unique<HttpParser>();
  parser_->header_limit(static_cast<uint32_t>(sessions_.limits.header_bytes));
  parser_->body_limit(boost::none);  // until the header is read: there may be worse than a body's length
  reading_header_ = true;
  stream_.expires_after(milliseconds(sessions_.limits.request_timeout_ms));
  http::async_read_header(stream_, buffer_, *parser_,
                          [self = shared_from_this()](const Error& error, size_t) { self->OnHeader(error); });
}

bool HttpSession::Idle() {
  beast::error_code error;
  return reading_header_ && !parser_->got_some() && buffer_.size() == 0 && stream_.socket().available(error) == 0;
}

void HttpSession::OnHeader(const Error& error) {
  if (closed_) return;
  reading_header_ = false;
  const auto& request = parser_->get();
  version_ = request.version() == 10 ? 10 : 11;
  head_only_ = request.method() == http::verb::head;
  if (error) return OnReadError(error);
  path_ = PathOf({request.target().data(), request.target().size()});
  const HttpLimits& limits = sessions_.limits;
  if (const auto refusal = RefusalOf(*parser_, path_, sessions_.routes, limits); refusal.has_value()) {
    // A body that follows is not read: then there is no telling where the next request begins.
    const bool whole = parser_->is_done() && (refusal->status == 404 || refusal->status == 405);
    return Refuse(*refusal, whole && request.keep_alive());
  }
  parser_->body_limit(limits.body_bytes);
  if (parser_->is_done()) return Dispatch();
  const bool waits = version_ == 11 && beast::iequals(request[http::field::expect], "100-continue");
  if (waits && buffer_.size() == 0) return Continue100();
  ReadBody();
}

void HttpSession::Continue100() {
  asio::async_write(stream_, asio::buffer(kContinue), [self = shared_from_this()](const Error& error, size_t) {
    if (error) return self->Close();
    if (!self->closed_) self->ReadBody();
  });
}

// Within the time that the header began.
void HttpSession::ReadBody() {
  http::async_read(stream_, buffer_, *parser_, [self = shared_from_this()](const Error& error, size_t) {
    if (self->closed_) return;
    if (error) return self->OnReadError(error);
    self->Dispatch();
  });
}

void HttpSession::OnReadError(const Error& error) {
  if (const std::optional<HttpRefusal> refusal = RefusalOf(error, sessions_.limits); refusal.has_value()) {
    return Refuse(*refusal, false);
  }
  Close();
}

void HttpSession::Dispatch() {
  auto message = parser_->release();
  keep_alive_ = message.keep_alive();
  head_sent_ = last_ = false;
  const uint64_t number = ++number_;
  // A reply may outlive this connection and its server, and then wakes nothing.
  const auto advance = [session = weak_from_this(), number] {
    if (const std::shared_ptr<HttpSession> self = session.lock()) self->Advance(number);
  };
  exchange_ = std::make_shared<HttpExchange>(sessions_.limits.unsent_bytes,
                                             [context = sessions_.context, advance] { asio::post(*context, advance); });
  sessions_.routes.at(path_).handler({.method = std::string(message.method_string()),
                                      .path = path_,
                                      .authorization = std::string(message[http::field::authorization]),
                                      .body = std::move(message.body())},
                                     HttpExchange::Reply(exchange_));
  Advance(number);
  if (!last_ && !closed_) Watch();
}

// Waits for the peer to hang up while its answer is incomplete.
void HttpSession::Watch() {
  if (buffer_.size() > 0) return;  // of the next request: what follows is read after this answer
  stream_.socket().async_wait(tcp::socket::wait_read,
                              [self = shared_from_this(), number = number_](const Error& error) {
                                if (self->closed_ || self->exchange_ == nullptr || self->number_ != number) return;
                                if (error) return self->Close();
                                self->Peek();
                              });
}

void HttpSession::Peek() {
  char byte = 0;
  beast::error_code error;
  stream_.socket().receive(asio::buffer(&byte, 1), tcp::socket::message_peek, error);
  if (error == asio::error::would_block) return Watch();
  if (error) Close();  // else there is a next request, which is read after this answer
}

void HttpSession::Advance(uint64_t number) {
  if (closed_ || exchange_ == nullptr || number_ != number) return;
  if (exchange_->lost()) return Close();
  if (writing_) return;
  HttpExchange::Answer answer = exchange_->Take();
  switch (answer.state) {
    case HttpExchange::State::kUnanswered:
      return;
    case HttpExchange::State::kWhole:
      return SendWhole(std::move(answer.response));
    case HttpExchange::State::kDropped:
      return SendWhole(ErrorOf(500, "the request was dropped unanswered"));
    case HttpExchange::State::kOpen:
    case HttpExchange::State::kFinished:
    case HttpExchange::State::kCut:
      return SendPiece(std::move(answer));
  }
}

void HttpSession::SendWhole(HttpResponse response, const std::string& allow) {
  last_ = true;
  std::string head = Head(response, response.body.size(), allow);
  if (head_only_) response.body.clear();
  Transmit(std::move(head), std::move(response.body), "");
}

// One chunk, or with HTTP/1.0 bytes that end with the connection.
void HttpSession::SendPiece(HttpExchange::Answer answer) {
  const bool chunked = version_ == 11 && !head_only_;
  std::string head, tail;
  if (!std::exchange(head_sent_, true)) head = Head(answer.response, std::nullopt, "");
  if (head_only_) {
    exchange_->Sent(answer.piece.size());
    answer.piece.clear();
  }
  if (chunked && !answer.piece.empty()) {
    absl::StrAppend(&head, absl::Hex(answer.piece.size()), "\r\n");
    tail = "\r\n";
  }
  last_ = answer.state == HttpExchange::State::kFinished;
  if (chunked && last_) tail += "0\r\n\r\n";
  if (!head.empty() || !answer.piece.empty() || !tail.empty()) {
    return Transmit(std::move(head), std::move(answer.piece), std::move(tail));
  }
  if (last_) return OnAnswered();
  if (answer.state == HttpExchange::State::kOpen) return;
  // Cut: the end of the connection is not to look like that of an answer. Without chunks only a reset does not.
  std::exchange(exchange_, nullptr)->Complete();
  beast::error_code ignored;
  if (version_ == 10) stream_.socket().set_option(asio::socket_base::linger(true, 0), ignored);
  Close();
}

void HttpSession::Refuse(const HttpRefusal& refusal, bool keep_alive) {
  keep_alive_ = keep_alive;
  SendWhole(ErrorOf(refusal.status, refusal.message), refusal.allow);
}

HttpResponse HttpSession::ErrorOf(int status, const std::string& message) const {
  HttpResponse response;
  if (sessions_.error_body) {
    response = sessions_.error_body(status, message);
  } else {
    response.body = message + "\n";
  }
  response.status = status;
  return response;
}

std::string HttpSession::Head(const HttpResponse& response, std::optional<size_t> length, const std::string& allow) {
  http::response<http::empty_body> head;
  head.version(version_);
  head.result(static_cast<unsigned>(response.status));
  head.set(http::field::content_type, response.content_type);
  if (!allow.empty()) head.set(http::field::allow, allow);
  if (length.has_value()) {
    head.content_length(*length);
  } else {
    head.set(http::field::cache_control, "no-cache");
    head.set("X-Accel-Buffering", "no");  // of proxies before us
    if (version_ == 11) head.chunked(true);
  }
  keep_alive_ = keep_alive_ && !sessions_.draining && (length.has_value() || version_ == 11);
  head.keep_alive(keep_alive_);
  std::ostringstream text;
  text << head.base();
  return text.str();
}

void HttpSession::Transmit(std::string head, std::string body, std::string tail) {
  writing_ = true;
  piece_bytes_ = body.size();
  head_ = std::move(head);
  body_ = std::move(body);
  tail_ = std::move(tail);
  stream_.expires_after(milliseconds(sessions_.limits.request_timeout_ms));
  const std::array<asio::const_buffer, 3> parts = {asio::buffer(head_), asio::buffer(body_), asio::buffer(tail_)};
  asio::async_write(stream_, parts, [self = shared_from_this()](const Error& error, size_t) { self->OnSent(error); });
}

void HttpSession::OnSent(const Error& error) {
  writing_ = false;
  if (error) return Close();
  if (closed_) return;
  if (last_) return OnAnswered();
  exchange_->Sent(piece_bytes_);
  Advance(number_);
}

void HttpSession::OnAnswered() {
  if (exchange_ != nullptr) std::exchange(exchange_, nullptr)->Complete();
  if (keep_alive_ && !sessions_.draining) return Read();
  Linger();
}

void HttpSession::Linger() {
  beast::error_code error;
  stream_.socket().shutdown(tcp::socket::shutdown_send, error);
  if (error) return Close();
  buffer_.clear();
  stream_.expires_after(milliseconds(std::min(kDiscardMs, sessions_.limits.request_timeout_ms)));
  Discard();
}

void HttpSession::Discard() {
  stream_.async_read_some(buffer_.prepare(kBufferBytes), [self = shared_from_this()](const Error& error, size_t bytes) {
    if (self->closed_) return;
    self->discarded_ += bytes;
    if (error || self->discarded_ > kDiscardBytes) return self->Close();
    self->Discard();
  });
}

void HttpSession::Close() {
  if (std::exchange(closed_, true)) return;
  const std::shared_ptr<HttpSession> self = shared_from_this();
  stream_.close();
  sessions_.open.erase(self);
  sessions_.Count();
  if (exchange_ != nullptr) std::exchange(exchange_, nullptr)->Lose();
}

}  // namespace droidspeak
