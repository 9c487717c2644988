// SPDX-License-Identifier: Apache-2.0
#include "tests/support/http_get.h"

#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/host_port.h"

namespace droidspeak {

std::string HttpGet(const std::string& address, const std::string& path) {
  const HostPort host_port = HostPort::Parse(address).value();
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(host_port.port);
  inet_pton(AF_INET, host_port.host.c_str(), &to.sin_addr);
  std::string answer;
  if (connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof to) == 0) {
    const std::string request = absl::StrCat("GET ", path, " HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    char buffer[4096];
    ssize_t got = send(fd, request.data(), request.size(), MSG_NOSIGNAL);
    while (got > 0 && (got = recv(fd, buffer, sizeof buffer, 0)) > 0) answer.append(buffer, static_cast<size_t>(got));
  }
  close(fd);
  const size_t body = answer.find("\r\n\r\n");
  return body == std::string::npos ? "" : answer.substr(body + 4);
}

double MetricOf(const std::string& address, const std::string& name) {
  for (const absl::string_view line : absl::StrSplit(HttpGet(address, "/metrics"), '\n')) {
    double value = 0;
    if (line.substr(0, name.size()) == name && line.size() > name.size() && line[name.size()] == ' ' &&
        absl::SimpleAtod(line.substr(name.size() + 1), &value)) {
      return value;
    }
  }
  return 0;
}

}  // namespace droidspeak
