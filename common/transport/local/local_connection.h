// SPDX-License-Identifier: Apache-2.0
// A connection of the `local` transport. The server maps the client's memfd and copies in Push() and Pull() themselves;
// their ends are told from the next Progress().
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "common/transport/local/unix_socket.h"
#include "common/transport/region_table.h"
#include "common/transport/transport.h"

namespace droidspeak::local {

class LocalWorker;

// Owned by the user; known to its worker by id while it lives. Owns the socket and, at the server, the mappings of the
// client's regions. Not thread-safe.
//
// Closing: the server unmaps the regions, then closes the socket. The client, whose memory the server may be writing
// just then, only ends its own direction and is closed when the server has ended the other.
class LocalConnection final : public Connection {
 public:
  enum class Role { kClient, kServer };

  LocalConnection(LocalWorker* worker, Role role, OwnedFd socket, std::string path);
  ~LocalConnection() override;

  absl::Status Send(absl::Span<const std::byte> message) override;
  absl::Status AnnounceRegion(uint32_t region, const MemoryRegion& memory) override;
  absl::Status WithdrawRegion(uint32_t region) override;
  void Authorize() override { authorized_ = true; }
  absl::Status Push(const std::byte* source, const RemoteRange& to, uint64_t token) override;
  absl::Status Pull(std::byte* destination, const RemoteRange& from, uint64_t token) override;
  void Close() override;
  std::string peer() const override;

  // For the worker.
  uint64_t id() const { return id_; }
  int socket() const { return stream_.socket(); }
  void set_events(ConnectionEvents* events) { events_ = events; }
  // The socket is ready: reads, writes and tells of messages. Returns how many things it did.
  int OnReady(uint32_t epoll_events);
  void TellTransferDone(uint64_t token);
  // Frees everything and tells that the connection is closed.
  void Finish();

 private:
  enum class State { kOpen, kEnding, kClosed };

  absl::Status SendFrame(FrameType type, absl::Span<const std::byte> payload, int fd = -1);
  [[nodiscard]] absl::StatusOr<std::byte*> CheckTransfer(const RemoteRange& range);
  [[nodiscard]] absl::Status OnFrame(const FrameStream::Frame& frame);
  [[nodiscard]] absl::Status OnAnnounce(const AnnouncePayload& announce, OwnedFd fd);
  [[nodiscard]] absl::Status OnWithdraw(const WithdrawPayload& withdraw);
  // Starts closing, because of `why`.
  void End(const absl::Status& why);
  // No byte will be moved any more: Finish() comes with the next Progress().
  void EndNow();
  void UnmapAll();
  void DiscardInput();

  LocalWorker* const worker_;
  const Role role_;
  const std::string path_;
  const uint64_t id_;
  FrameStream stream_;
  RegionTable regions_;  // client: announced; server: mapped
  ConnectionEvents* events_ = nullptr;
  bool authorized_ = false;
  State state_ = State::kOpen;
  absl::Status why_;
};

}  // namespace droidspeak::local
