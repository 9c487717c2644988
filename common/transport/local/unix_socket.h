// SPDX-License-Identifier: Apache-2.0
// Unix sockets of the `local` transport: their set-up and checks, and a stream that carries frames and descriptors.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/base/owned_fd.h"
#include "common/transport/transport.h"

namespace droidspeak::local {

// A listening socket at `path`, mode 0600. A socket file that nobody listens on any more is replaced; ALREADY_EXISTS if
// somebody does, or if something else is there.
[[nodiscard]] absl::StatusOr<OwnedFd> ListenAt(const std::string& path);

// UNAVAILABLE if nobody listens.
[[nodiscard]] absl::StatusOr<OwnedFd> ConnectTo(const std::string& path);

// PERMISSION_DENIED unless the other end runs as this user or as root.
[[nodiscard]] absl::Status CheckPeer(int socket);

// The values are on the wire.
enum class FrameType : uint32_t { kMessage = 1, kAnnounce = 2, kWithdraw = 3 };

struct FrameHeader {
  uint32_t type;
  uint32_t bytes;  // of the payload that follows
};
static_assert(sizeof(FrameHeader) == 8);

struct AnnouncePayload {  // its memfd comes with the frame
  uint32_t region;
  uint32_t reserved;
  uint64_t bytes;
};
static_assert(sizeof(AnnouncePayload) == 16);

struct WithdrawPayload {
  uint32_t region;
};
static_assert(sizeof(WithdrawPayload) == 4);

// Bytes that the peer doesn't take are kept up to this, then Send is refused.
inline constexpr size_t kMaxQueuedBytes = size_t{8} << 20;

// Frames over a non-blocking stream socket. Owns the socket and what is queued. Not thread-safe.
class FrameStream {
 public:
  struct Frame {
    FrameType type;
    absl::Span<const std::byte> payload;  // valid until the next Receive() or Next()
  };

  explicit FrameStream(OwnedFd socket) : socket_(std::move(socket)) {}

  // Sends or queues a frame; `fd` (or -1) goes with it. RESOURCE_EXHAUSTED, with nothing sent, when too much is queued;
  // UNAVAILABLE when the peer is gone.
  [[nodiscard]] absl::Status Send(FrameType type, absl::Span<const std::byte> payload, int fd = -1);
  // Sends what is queued as far as the peer takes it. UNAVAILABLE when the peer is gone.
  [[nodiscard]] absl::Status Flush();
  bool has_queued() const { return !queue_.empty(); }

  // Reads what has arrived, up to a bound: true if something came. UNAVAILABLE at the end of the stream.
  [[nodiscard]] absl::StatusOr<bool> Receive();
  // Takes the next whole frame out of what was read: false if there is none. INVALID_ARGUMENT for a frame that can't
  // be.
  [[nodiscard]] absl::StatusOr<bool> Next(Frame* frame);
  // Forgets all that was read, descriptors too.
  void Discard();
  // The oldest descriptor that came with a frame.
  OwnedFd TakeFd();

  int socket() const { return socket_.get(); }
  void Close() { socket_.Reset(); }

 private:
  struct Queued {
    std::vector<std::byte> bytes;
    size_t sent = 0;
    OwnedFd fd;  // goes with the first byte
  };

  OwnedFd socket_;
  std::deque<Queued> queue_;
  size_t queued_bytes_ = 0;
  std::vector<std::byte> in_;
  size_t in_begin_ = 0;  // in_[in_begin_, in_end_) has not been taken
  size_t in_end_ = 0;
  std::deque<OwnedFd> fds_;
};

}  // namespace droidspeak::local
