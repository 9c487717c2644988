// SPDX-License-Identifier: Apache-2.0
// A port of this host that somebody listens on and never answers, for tests.
#pragma once

#include <string>

namespace droidspeak {

// Listens as long as the object lives.
class TakenPort {
 public:
  TakenPort();
  ~TakenPort();
  TakenPort(const TakenPort&) = delete;
  TakenPort& operator=(const TakenPort&) = delete;
  // 127.0.0.1:PORT
  const std::string& address() const { return address_; }

 private:
  const int fd_;
  std::string address_;
};

}  // namespace droidspeak
