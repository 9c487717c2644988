// SPDX-License-Identifier: Apache-2.0
#include "tests/support/taken_port.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"

namespace droidspeak {

TakenPort::TakenPort() : fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t bytes = sizeof address;
  bind(fd_, reinterpret_cast<sockaddr*>(&address), bytes);
  listen(fd_, 4);
  getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &bytes);
  address_ = absl::StrCat("127.0.0.1:", ntohs(address.sin_port));
}

TakenPort::~TakenPort() {
  close(fd_);
}

}  // namespace droidspeak
