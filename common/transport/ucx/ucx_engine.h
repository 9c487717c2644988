// SPDX-License-Identifier: Apache-2.0
// A UCX context with its worker, set up as the `ucx` transport needs it, and UCX's words in ours.
#pragma once

#include <ucp/api/ucp.h>

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/transport/socket_address.h"

namespace droidspeak::ucx {

// What a context is for. UCX listens on an address of each device it has opened, so what is meant for this host only
// must open no other device than the loopback one. And it takes one address of each device, which must be of the family
// of the connections: 1.13 writes beyond its memory when they differ.
struct Reach {
  bool loopback = true;
  bool ipv6 = false;

  static constexpr size_t kCount = 4;
  size_t index() const { return (loopback ? 1 : 0) + (ipv6 ? 2 : 0); }
};

// Owns the UCX context and worker. Not thread-safe.
class UcxEngine {
 public:
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<UcxEngine>> Create(Reach reach);
  ~UcxEngine();
  UcxEngine(const UcxEngine&) = delete;
  UcxEngine& operator=(const UcxEngine&) = delete;

  ucp_worker_h worker() const { return worker_; }
  // Readable when an armed worker has something to do.
  int event_fd() const { return event_fd_; }
  // True if the worker may sleep on event_fd().
  bool Arm() { return ucp_worker_arm(worker_) == UCS_OK; }

 private:
  UcxEngine() = default;

  ucp_context_h context_ = nullptr;
  ucp_worker_h worker_ = nullptr;
  int event_fd_ = -1;
};

// The address of HOST:PORT to listen at or connect to. INVALID_ARGUMENT for ::1, which UCX leaves out of a device's
// addresses.
[[nodiscard]] absl::StatusOr<SocketAddress> ResolveForUcx(const std::string& text);
Reach ReachOf(const SocketAddress& address);
inline ucs_sock_addr_t ToUcs(const SocketAddress& address) {
  return {address.get(), address.bytes};
}

// `status` met while doing `what`. A lost or unreachable peer is UNAVAILABLE.
[[nodiscard]] absl::Status ToStatus(ucs_status_t status, const std::string& what);

}  // namespace droidspeak::ucx
