// SPDX-License-Identifier: Apache-2.0
// Sockets of the `tcp` transport, set up as it needs them.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/base/owned_fd.h"
#include "common/transport/socket_address.h"

namespace droidspeak::tcp {

// A non-blocking listener. ALREADY_EXISTS if somebody listens there.
[[nodiscard]] absl::StatusOr<OwnedFd> ListenAt(const SocketAddress& address);

// A non-blocking socket whose connection is under way: it is writable once that has ended, see ConnectResult().
[[nodiscard]] absl::StatusOr<OwnedFd> StartConnecting(const SocketAddress& address);
// The same to the first of `addresses`, one or more, to which it can be started; those before it are taken off.
[[nodiscard]] absl::StatusOr<OwnedFd> StartConnectingToAny(std::vector<SocketAddress>& addresses);
// UNAVAILABLE unless the connection was made.
[[nodiscard]] absl::Status ConnectResult(int fd);

// Sends small things at once, and finds a peer whose host is gone within kSilence. At both ends, once.
[[nodiscard]] absl::Status Configure(int fd);

// Whether a call failed only because the socket takes or has nothing now.
[[nodiscard]] bool IsBusy(int error);

// Bytes written or read: 0 when the socket takes or has none now. UNAVAILABLE when the peer is gone.
[[nodiscard]] absl::StatusOr<size_t> WriteSome(int fd, absl::Span<const iovec> pieces);
[[nodiscard]] absl::StatusOr<size_t> ReadSome(int fd, absl::Span<const iovec> pieces);

// Lets the socket become readable only when it has `bytes`, at least 1, or has ended.
void SetLowWater(int fd, size_t bytes);

}  // namespace droidspeak::tcp
