// SPDX-License-Identifier: Apache-2.0
// A listening stream socket from which connections are taken, also when the process has run out of descriptors.
#pragma once

#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "common/base/owned_fd.h"

namespace droidspeak {

// Owns the listening socket, and one descriptor that it gives up for a moment to refuse a connection when there are
// none left: otherwise that connection would wait, and wake its listener, for ever. Not thread-safe.
class Acceptor {
 public:
  // `listener` is non-blocking and listens; `name` is for messages to people.
  [[nodiscard]] static absl::StatusOr<Acceptor> Create(OwnedFd listener, std::string name);

  // Takes the next connection that waits, non-blocking; none when no more do.
  [[nodiscard]] std::optional<OwnedFd> Accept();
  int fd() const { return listener_.get(); }

 private:
  Acceptor(OwnedFd listener, OwnedFd spare, std::string name);

  OwnedFd listener_;
  OwnedFd spare_;
  std::string name_;
};

}  // namespace droidspeak
