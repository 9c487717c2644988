// SPDX-License-Identifier: Apache-2.0
// What a stream reads from and writes to: a socket, in the clear or under TLS.
#pragma once

#include <memory>
#include <utility>

#include "common/base/owned_fd.h"
#include "common/transport/tcp/socket.h"
#include "common/transport/tcp/tls_layer.h"

namespace droidspeak::tcp {

// Owns the socket. Not thread-safe.
class StreamSocket {
 public:
  // `tls` is null for one in the clear.
  StreamSocket(OwnedFd fd, std::unique_ptr<TlsLayer> tls) : tls_(std::move(tls)), fd_(std::move(fd)) {}

  // As WriteSome() and ReadSome().
  [[nodiscard]] absl::StatusOr<size_t> Write(absl::Span<const iovec> pieces) {
    return tls_ == nullptr ? WriteSome(fd(), pieces) : tls_->Write(pieces);
  }
  [[nodiscard]] absl::StatusOr<size_t> Read(absl::Span<const iovec> pieces) {
    return tls_ == nullptr ? ReadSome(fd(), pieces) : tls_->Read(pieces);
  }

  // To be written to when the socket takes more, if there is something `queued`. While TLS shakes hands, what it waits
  // for is mostly the peer.
  bool WantsOutput(bool queued) const {
    return tls_ == nullptr ? queued : tls_->wants_output() || (queued && tls_->established());
  }
  // There is something to read although epoll doesn't know of it.
  bool has_input() const { return tls_ != nullptr && tls_->has_input(); }
  // Up to so many bytes of what is still to come may have been taken from the socket already.
  size_t held_back() const { return tls_ == nullptr ? 0 : kMostHeldBack; }

  int fd() const { return fd_.get(); }
  // Another socket takes the place of one that was never connected.
  void Replace(OwnedFd fd) {
    fd_ = std::move(fd);
    if (tls_ != nullptr) tls_->set_socket(fd_.get());
  }

 private:
  // Less than two TLS records: one that is read in parts, and one of which a part has come.
  static constexpr size_t kMostHeldBack = size_t{34} << 10;

  std::unique_ptr<TlsLayer> tls_;
  OwnedFd fd_;
};

}  // namespace droidspeak::tcp
