// SPDX-License-Identifier: Apache-2.0
// The worker of the `tcp` transport: one epoll set for its listener and the streams of its connections.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "common/base/owned_fd.h"
#include "common/transport/acceptor.h"
#include "common/transport/region_table.h"
#include "common/transport/tcp/frame.h"
#include "common/transport/tcp/tcp_connection.h"
#include "common/transport/tcp/tcp_transport.h"
#include "common/transport/transport.h"

namespace droidspeak::tcp {

// Owns the epoll set, the listener, and sockets that have not said yet what they are; not the connections, whose
// streams it knows by id, so that a handler may destroy another connection than its own. Not thread-safe.
class TcpWorker final : public Worker {
 public:
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<Worker>> Create(const TcpStreams& streams);

  absl::StatusOr<std::string> Listen(const std::string& address, AcceptFunction accept) override;
  absl::StatusOr<std::unique_ptr<Connection>> Connect(const std::string& address, ConnectionEvents* events) override;
  absl::StatusOr<std::unique_ptr<Connection>> ConnectEncrypted(const std::string& address, const SharedKey& key,
                                                               ConnectionEvents* events) override;
  absl::Status AcceptEncryptedOnly(KeyFinder keys) override;
  absl::Status Register(const MemoryRegion& memory) override { return CheckHostMemory(memory); }
  int Progress() override;
  bool Arm() override { return turns_.empty(); }
  int event_fd() const override { return epoll_.get(); }

  // For its connections. A stream's id, by which its socket is watched from now on.
  uint64_t Add(TcpConnection* connection, int socket, bool watch_output);
  void Watch(uint64_t stream_id, int socket, bool output);
  void Remove(uint64_t stream_id) { streams_.erase(stream_id); }
  // The connection with this stream is called at the end of Progress().
  void GiveTurn(uint64_t stream_id) { turns_.push_back(stream_id); }
  // What its connections moved. One that finds that enough was sent in this Progress() asks for another turn.
  void Sent(uint64_t bytes) { sent_bytes_ += bytes; }
  void Received(uint64_t bytes) { received_bytes_ += bytes; }
  bool HasSentEnough() const { return sent_bytes_ >= round_bytes(); }
  // One of them, by its first stream, has something to do.
  void Serves(uint64_t connection) {
    if (connection != served_) shared_rounds_ = kRemembered;
    served_ = connection;
  }
  // What a stream sends or receives before another has its turn: much costs least, little is what others wait for.
  uint64_t piece_bytes() const { return shared_rounds_ > 0 ? kSharedPieceBytes : kPieceBytes; }
  // To `peer`, which `socket` is connected to.
  uint32_t MoreStreamsTo(const SocketAddress& peer, int socket) const;
  Ticket AddTicket(TcpConnection* connection);
  void RemoveTicket(const Ticket& ticket) { tickets_.erase(ticket); }
  // A client's end of a socket, encrypted if there is a key.
  [[nodiscard]] absl::StatusOr<StreamSocket> Wrap(OwnedFd socket, const std::optional<SharedKey>& key);
  absl::Span<std::byte> scratch() { return absl::MakeSpan(scratch_); }

 private:
  // An accepted socket whose first frame has not come whole.
  struct Stranger {
    StreamSocket socket;
    std::array<std::byte, sizeof(FrameHeader)> begun;
    size_t bytes = 0;
  };

  static constexpr uint64_t kPieceBytes = uint64_t{1} << 20;
  static constexpr uint64_t kSharedPieceBytes = uint64_t{128} << 10;
  // Several connections are served while, in so many rounds that did something, it has not always been the same.
  static constexpr int kRemembered = 256;
  // What one Progress() sends, and what it receives, about: a request that comes meanwhile waits for so much.
  uint64_t round_bytes() const { return 2 * piece_bytes(); }

  TcpWorker(OwnedFd epoll, const TcpStreams& streams)
      : epoll_(std::move(epoll)), more_streams_(streams), scratch_(Stream::kScratchBytes) {}

  absl::StatusOr<std::unique_ptr<Connection>> StartConnection(const std::string& address,
                                                              const std::optional<SharedKey>& key,
                                                              ConnectionEvents* events);
  TcpConnection* Find(uint64_t stream_id) const;
  int RunTurns();
  void AcceptAll();
  void OnStranger(uint64_t id, Stranger& stranger);
  void Introduce(StreamSocket socket, const FrameHeader& header);
  void Offer(StreamSocket socket);

  OwnedFd epoll_;
  const TcpStreams more_streams_;
  std::vector<std::byte> scratch_;
  std::unique_ptr<TlsContext> server_tls_;  // null: connections are accepted in the clear
  std::unique_ptr<TlsContext> client_tls_;  // once it has been needed
  std::optional<Acceptor> acceptor_;
  AcceptFunction accept_;
  uint64_t last_id_ = 0;  // 0: the listener
  absl::flat_hash_map<uint64_t, TcpConnection*> streams_;
  std::map<uint64_t, Stranger> strangers_;  // the oldest first
  std::map<Ticket, TcpConnection*> tickets_;
  std::vector<uint64_t> turns_;
  uint64_t served_ = 0;      // the connection
  int shared_rounds_ = 0;    // left, in which there are others
  uint64_t sent_bytes_ = 0;  // in this Progress()
  uint64_t received_bytes_ = 0;
};

}  // namespace droidspeak::tcp
