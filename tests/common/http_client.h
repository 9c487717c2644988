// SPDX-License-Identifier: Apache-2.0
// A client of an HttpServer that speaks bytes, so that tests see and send every one of them.
#pragma once

#include <poll.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/write.hpp>
#include <chrono>
#include <string>

#include "common/base/host_port.h"

namespace droidspeak {

// What a test waits for comes within this time.
constexpr std::chrono::seconds kWaitLimit(20);

// For one thread. Connects, or throws; the destructor closes.
class HttpClient {
 public:
  explicit HttpClient(const HostPort& server) : socket_(context_) {
    socket_.connect({boost::asio::ip::make_address(server.host), server.port});
  }

  // What the server does not take any more is lost.
  void Send(const std::string& text) {
    boost::system::error_code ignored;
    boost::asio::write(socket_, boost::asio::buffer(text), ignored);
  }

  // What comes until `end` has, and until then only, or until the connection ends.
  std::string ReadUntil(const std::string& end) {
    size_t found = std::string::npos;
    while ((found = read_.find(end)) == std::string::npos && ReadSome()) {
    }
    const size_t taken = found == std::string::npos ? read_.size() : found + end.size();
    std::string text = read_.substr(0, taken);
    read_.erase(0, taken);
    return text;
  }

  // What comes until the server closes.
  std::string ReadAll() {
    while (ReadSome()) {
    }
    return std::move(read_);
  }

  // How the connection ended: EOF, or something worse; no error while it has not.
  boost::system::error_code end() const { return end_; }

 private:
  bool ReadSome() {
    pollfd readable{.fd = socket_.native_handle(), .events = POLLIN};
    if (end_ || poll(&readable, 1, std::chrono::milliseconds(kWaitLimit).count()) != 1) return false;
    char bytes[4096];
    read_.append(bytes, socket_.read_some(boost::asio::buffer(bytes), end_));
    return !end_;
  }

  boost::asio::io_context context_;
  boost::asio::ip::tcp::socket socket_;
  std::string read_;
  boost::system::error_code end_;
};

}  // namespace droidspeak
