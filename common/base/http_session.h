// SPDX-License-Identifier: Apache-2.0
// One connection of an HttpServer.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "common/base/http_exchange.h"
#include "common/base/http_refusal.h"
#include "common/base/http_server.h"

namespace droidspeak {

class HttpSession;

// What the connections of a server share. Used on its thread only, but for the count.
struct HttpSessions {
  HttpServer::Routes routes;
  HttpLimits limits;
  HttpServer::ErrorBody error_body;
  std::shared_ptr<boost::asio::io_context> context;
  std::set<std::shared_ptr<HttpSession>> open;
  bool draining = false;

  // For other threads: how many are open.
  absl::Mutex mutex;
  size_t count ABSL_GUARDED_BY(mutex) = 0;
  void Count() {
    absl::MutexLock lock(&mutex);
    count = open.size();
  }
};

// Reads requests, has them answered one after the other, and closes the connection. Used on the server's thread only.
// Owned by HttpSessions, which outlives it, until it is closed, and by the operations that are under way.
class HttpSession : public std::enable_shared_from_this<HttpSession> {
 public:
  HttpSession(boost::asio::ip::tcp::socket socket, HttpSessions& sessions);

  void Start();
  // Nothing of a request has come.
  bool Idle();
  // Ends everything that is under way; a handler whose answer is incomplete hears of it.
  void Close();

 private:
  using Error = boost::beast::error_code;

  void Read();
  void OnHeader(const Error& error);
  void Continue100();
  void ReadBody();
  void OnReadError(const Error& error);
  void Dispatch();
  void Watch();
  void Peek();

  // Sends what there is of answer `number`, unless an older piece is still being sent.
  void Advance(uint64_t number);
  void SendWhole(HttpResponse response, const std::string& allow = "");
  void SendPiece(HttpExchange::Answer answer);
  void Refuse(const HttpRefusal& refusal, bool keep_alive);
  HttpResponse ErrorOf(int status, const std::string& message) const;
  // The head of an answer; without `length` of one in pieces.
  std::string Head(const HttpResponse& response, std::optional<size_t> length, const std::string& allow);
  void Transmit(std::string head, std::string body, std::string tail);
  void OnSent(const Error& error);
  void OnAnswered();

  void Linger();
  void Discard();

  boost::beast::tcp_stream stream_;
  HttpSessions& sessions_;
  boost::beast::flat_buffer buffer_;
  bool closed_ = false;
  size_t discarded_ = 0;

  // The request.
  std::unique_ptr<HttpParser> parser_;
  bool reading_header_ = false;
  std::string path_;

  // Its answer.
  std::shared_ptr<HttpExchange> exchange_;
  uint64_t number_ = 0;
  unsigned version_ = 11;
  bool keep_alive_ = false;
  bool head_only_ = false;
  bool head_sent_ = false;
  bool writing_ = false;
  bool last_ = false;  // what is being sent completes the answer
  size_t piece_bytes_ = 0;
  std::string head_, body_, tail_;  // being sent
};

}  // namespace droidspeak
