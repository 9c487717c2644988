// SPDX-License-Identifier: Apache-2.0
#include "tests/support/http_call.h"

#include <arpa/inet.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/host_port.h"

namespace droidspeak {
namespace {

// A socket, or -1 when nobody listens.
int Connected(const std::string& address) {
  const HostPort host_port = HostPort::Parse(address).value();
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(host_port.port);
  if (inet_pton(AF_INET, host_port.host.c_str(), &to.sin_addr) != 1) return -1;
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const timeval limit = absl::ToTimeval(kPatience);
  setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  if (connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof to) == 0) return fd;
  close(fd);
  return -1;
}

// What the server does not take is lost; its answer may say why.
void Send(int fd, const std::string& text) {
  size_t sent = 0;
  while (sent < text.size()) {
    const ssize_t took = send(fd, text.data() + sent, text.size() - sent, MSG_NOSIGNAL);
    if (took <= 0) return;
    sent += static_cast<size_t>(took);
  }
}

std::string Text(const std::string& address, const HttpQuestion& question) {
  std::string text =
      absl::StrCat(question.method, " ", question.path, " HTTP/1.1\r\nHost: ", address, "\r\nConnection: close\r\n");
  for (const auto& [name, value] : question.headers) absl::StrAppend(&text, name, ": ", value, "\r\n");
  if (question.method == "POST") {
    absl::StrAppend(&text, "Content-Type: application/json\r\nContent-Length: ", question.body.size(), "\r\n");
  }
  absl::StrAppend(&text, "\r\n", question.body);
  return text;
}

}  // namespace

HttpCall::HttpCall(const std::string& address, const HttpQuestion& question)
    : fd_(Connected(address)), patience_(question.patience) {
  if (connected()) Send(fd_, Text(address, question));
}

HttpCall::~HttpCall() {
  if (connected()) close(fd_);
}

bool HttpCall::ReadSome() {
  pollfd readable{.fd = fd_, .events = POLLIN, .revents = 0};
  if (!connected() || poll(&readable, 1, static_cast<int>(absl::ToInt64Milliseconds(patience_))) != 1) return false;
  char bytes[16 * 1024];
  const ssize_t got = recv(fd_, bytes, sizeof bytes, 0);
  if (got <= 0) return false;
  received_.append(bytes, static_cast<size_t>(got));
  return true;
}

void HttpCall::ReadHead() {
  if (std::exchange(head_read_, true)) return;
  size_t end = std::string::npos;
  while ((end = received_.find("\r\n\r\n")) == std::string::npos) {
    if (ReadSome()) continue;
    ended_ = true;
    return;
  }
  const std::vector<std::string> lines = absl::StrSplit(received_.substr(0, end), "\r\n");
  received_.erase(0, end + 4);
  constexpr size_t kBeforeStatus = 9;  // "HTTP/1.1 "
  if (lines[0].size() < kBeforeStatus + 3 || !absl::SimpleAtoi(lines[0].substr(kBeforeStatus, 3), &status_)) {
    ended_ = true;
  }
  for (size_t i = 1; i < lines.size(); ++i) {
    const size_t colon = lines[i].find(": ");
    if (colon == std::string::npos) continue;
    headers_[absl::AsciiStrToLower(lines[i].substr(0, colon))] = lines[i].substr(colon + 2);
  }
}

bool HttpCall::ReadBody() {
  ReadHead();
  if (ended_) return false;
  if (headers_.contains("transfer-encoding")) return ReadChunk();
  ended_ = true;
  uint64_t length = 0;
  const auto told = headers_.find("content-length");
  if (told == headers_.end() || !absl::SimpleAtoi(told->second, &length)) return false;
  while (received_.size() < length) {
    if (!ReadSome()) break;
  }
  complete_ = received_.size() == length;
  body_ += std::exchange(received_, "");
  return true;
}

bool HttpCall::ReadChunk() {
  size_t line = std::string::npos;
  while ((line = received_.find("\r\n")) == std::string::npos) {
    if (ReadSome()) continue;
    ended_ = true;
    return false;
  }
  const size_t size = std::strtoul(received_.c_str(), nullptr, 16);
  const size_t begin = line + 2, end = begin + size + 2;
  while (received_.size() < end) {
    if (ReadSome()) continue;
    ended_ = true;
    return false;
  }
  body_.append(received_, begin, size);
  received_.erase(0, end);
  if (size > 0) return true;
  ended_ = complete_ = true;
  return false;
}

HttpAnswer HttpCall::Whole() {
  while (ReadBody()) {
  }
  return {.status = status_, .headers = headers_, .body = std::exchange(body_, "")};
}

int HttpCall::status() {
  ReadHead();
  return status_;
}

std::optional<std::string> HttpCall::NextEvent() {
  size_t end = std::string::npos;
  while ((end = body_.find("\n\n")) == std::string::npos) {
    if (!ReadBody()) return std::nullopt;
  }
  const std::string event = body_.substr(0, end);
  body_.erase(0, end + 2);
  const std::string begin = "data: ";
  return event.rfind(begin, 0) == 0 ? event.substr(begin.size()) : "no data: " + event;
}

}  // namespace droidspeak
