// SPDX-License-Identifier: Apache-2.0
// One socket of a connection: frames that wait to be sent, and the frame that is being received.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/transport/tcp/frame.h"
#include "common/transport/tcp/stream_socket.h"

namespace droidspeak::tcp {

class Stream;

// What a stream tells the connection that it belongs to. None of these may destroy the stream.
class FrameSink {
 public:
  virtual ~FrameSink() = default;
  // A header has come whose payload, header.bytes, is next: where that goes. Bytes are written there only within
  // Receive(). An error ends the connection; so does one from OnFrame().
  [[nodiscard]] virtual absl::StatusOr<std::byte*> PlaceFor(const Stream& stream, const FrameHeader& header) = 0;
  // A whole frame has come.
  [[nodiscard]] virtual absl::Status OnFrame(const Stream& stream, const FrameHeader& header) = 0;
  // False: nothing more is to be received.
  [[nodiscard]] virtual bool WantsMore() const = 0;
};

// Owns its socket. Not thread-safe.
class Stream {
 public:
  // What Receive() works in, shared by all streams of a thread.
  static constexpr size_t kScratchBytes = size_t{64} << 10;

  explicit Stream(StreamSocket socket) : socket_(std::move(socket)) {}

  // Queues a frame without a payload, with one that it owns, or with header.bytes at `payload`, which stay as they are
  // until `token` comes out of Flush() or DropQueue().
  void Queue(const FrameHeader& header);
  void Queue(const FrameHeader& header, absl::Span<const std::byte> payload);
  void Queue(const FrameHeader& header, const std::byte* payload, std::optional<uint64_t> token);
  // Writes what is queued as far as the socket takes it, about `most` bytes, and appends the tokens of what has gone to
  // the kernel whole. Returns how many bytes. UNAVAILABLE when the peer is gone.
  [[nodiscard]] absl::StatusOr<uint64_t> Flush(std::vector<uint64_t>& sent, uint64_t most);
  // Forgets all that is queued, and appends its tokens.
  void DropQueue(std::vector<uint64_t>& dropped);
  // To be flushed when the socket takes more.
  bool wants_output() const { return socket_.WantsOutput(!queue_.empty()); }
  // To be received from although the socket has nothing new.
  bool has_input() const { return socket_.has_input(); }
  // A payload that is being received, or is queued, lies in [start, start + bytes).
  bool Uses(const std::byte* start, uint64_t bytes) const;
  uint64_t queued_bytes() const { return queued_bytes_; }
  // Memory that the queue takes: frames, and the payloads that it owns.
  uint64_t held_bytes() const { return held_bytes_; }

  // Reads what has arrived, about `most` bytes: how many. UNAVAILABLE at the stream's end.
  [[nodiscard]] absl::StatusOr<uint64_t> Receive(FrameSink& sink, absl::Span<std::byte> scratch, uint64_t most);

  int fd() const { return socket_.fd(); }
  // Another socket takes the place of one that was never connected.
  void Replace(OwnedFd socket) { socket_.Replace(std::move(socket)); }

 private:
  struct Out {
    FrameHeader header;
    std::vector<std::byte> owned;
    const std::byte* payload;
    uint64_t payload_bytes;
    std::optional<uint64_t> token;
    uint64_t bytes() const { return sizeof(FrameHeader) + payload_bytes; }
    uint64_t held_bytes() const { return sizeof(Out) + owned.size(); }
  };

  void Add(Out out);
  // Takes `bytes` off the queue's front.
  void Sent(uint64_t bytes, std::vector<uint64_t>& sent);
  // Reads once, at most `most` bytes of a payload, and behind the `held` bytes in `scratch`; returns false when there
  // was less than was asked for. `held` is then what is in scratch and not yet part of a payload. Adds what it read to
  // `received`.
  [[nodiscard]] absl::StatusOr<bool> ReadOnce(absl::Span<std::byte> scratch, uint64_t most, size_t& held,
                                              uint64_t& received);
  // Makes frames of bytes; returns how many of the bytes it took.
  [[nodiscard]] absl::StatusOr<size_t> Parse(FrameSink& sink, absl::Span<const std::byte> bytes);
  void SetLowWaterMark();

  StreamSocket socket_;

  std::deque<Out> queue_;
  uint64_t front_sent_ = 0;  // bytes of the first that have gone
  uint64_t queued_bytes_ = 0;
  uint64_t held_bytes_ = 0;

  FrameHeader header_{};  // of the frame whose payload is being received, if `place_` is not null
  std::byte* place_ = nullptr;
  uint64_t left_ = 0;                                   // bytes of it
  std::array<std::byte, sizeof(FrameHeader)> begun_{};  // of a header
  size_t begun_bytes_ = 0;
  size_t low_water_ = 1;
};

}  // namespace droidspeak::tcp
