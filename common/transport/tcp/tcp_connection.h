// SPDX-License-Identifier: Apache-2.0
// A connection of the `tcp` transport: one stream for messages, and maybe more that share its pushes and pulls.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "common/transport/done_up_to.h"
#include "common/transport/region_table.h"
#include "common/transport/socket_address.h"
#include "common/transport/tcp/stream.h"
#include "common/transport/transport.h"

namespace droidspeak::tcp {

class TcpWorker;

// Owned by the user; known to its worker by the ids of its streams while it lives. Owns the sockets. Not thread-safe.
//
// A push is over when the kernel has its last byte: the source may then change. Messages carry the number of pushes
// posted before them, and wait at the client until those have landed, since other streams may be slower. Everything
// that touches memory is a system call of this thread, so that a connection is quiet as soon as its sockets are closed.
class TcpConnection final : public Connection, private FrameSink {
 public:
  enum class Role { kClient, kServer };

  // `socket` is connected (server), or connecting to the first of `peers` (client), whose others are tried after it.
  // With a `key` (client), more sockets to the same peer are encrypted like the first.
  TcpConnection(TcpWorker* worker, Role role, StreamSocket socket, std::vector<SocketAddress> peers,
                std::optional<SharedKey> key);
  ~TcpConnection() override;

  absl::Status Send(absl::Span<const std::byte> message) override;
  absl::Status AnnounceRegion(uint32_t region, const MemoryRegion& memory) override;
  absl::Status WithdrawRegion(uint32_t region) override;
  void Authorize() override;
  absl::Status Push(const std::byte* source, const RemoteRange& to, uint64_t token) override;
  absl::Status Pull(std::byte* destination, const RemoteRange& from, uint64_t token) override;
  void Close() override;
  std::string peer() const override;

  // For the worker.
  void set_events(ConnectionEvents* events) { events_ = events; }
  // A stream's socket is ready. Returns how many things that led to.
  int OnReady(uint64_t stream_id, uint32_t epoll_events);
  // Sends what is queued and tells what has ended. Returns how many things it did.
  int Turn();
  // Server: a stream that came with this connection's ticket.
  void Join(StreamSocket socket);

 private:
  enum class State { kOpen, kEnding, kClosed };

  struct Member {
    uint64_t id;  // by which the worker knows it
    std::unique_ptr<Stream> stream;
    bool connecting = false;
    bool joined = true;   // client: false until the server says that it took this stream in
    bool failed = false;  // before it joined: it goes, the connection stays
    bool watches_output = false;
  };
  struct Message {
    uint64_t pushes_before = 0;
    std::vector<std::byte> bytes;
  };
  struct PendingPull {
    std::byte* destination;
    uint64_t bytes;
    uint64_t token;
    bool receiving = false;
  };

  // FrameSink: tcp_receive.cc.
  absl::StatusOr<std::byte*> PlaceFor(const Stream& stream, const FrameHeader& header) override;
  absl::Status OnFrame(const Stream& stream, const FrameHeader& header) override;
  bool WantsMore() const override { return state_ == State::kOpen; }
  [[nodiscard]] absl::Status OnControl(const FrameHeader& header);
  [[nodiscard]] absl::Status OnPull(const FrameHeader& header);
  [[nodiscard]] absl::Status OnPulled(const FrameHeader& header);
  [[nodiscard]] absl::Status OnStreams(const FrameHeader& header);
  void DeliverMessages();
  void ReceiveFrom(Member& member);

  [[nodiscard]] absl::Status CheckOpen() const;
  [[nodiscard]] absl::Status CheckClient() const;
  [[nodiscard]] absl::Status CheckTransfer(const RemoteRange& range) const;
  Member* AddMember(StreamSocket socket, bool connecting);
  Member* FindMember(uint64_t id);
  Member& MemberOf(const Stream& stream);
  // The stream has failed, because of `why`: the connection has, unless the stream never joined.
  void Fail(Member& member, const absl::Status& why);
  void RemoveFailed();
  bool OnConnected(Member& member);
  // True if the next address is being tried.
  bool ConnectToNext(Member& member);
  Stream& first() { return *streams_.front().stream; }
  Stream& ForBulk();
  void WantTurn();
  void Flush(Member& member);
  void End(const absl::Status& why);
  void Finish();

  TcpWorker* const worker_;
  const Role role_;
  const std::optional<SharedKey> key_;
  std::vector<SocketAddress> peers_;  // the first is, or is to be, at the other end
  std::deque<Member> streams_;        // the first carries messages
  uint64_t id_ = 0;                   // of the first
  Ticket ticket_{};                   // server: granted to its client
  uint32_t more_streams_ = 0;         // server: that may still join
  ConnectionEvents* events_ = nullptr;
  bool authorized_ = false;
  bool in_turn_ = false;
  size_t turns_ = 0;
  State state_ = State::kOpen;
  absl::Status why_;

  RegionTable regions_;  // client: announced; server: known, not mapped
  uint64_t pushes_sent_ = 0;
  uint64_t pulls_sent_ = 0;
  absl::flat_hash_map<uint64_t, PendingPull> pulls_;
  std::vector<uint64_t> sent_;  // tokens of pushes that are over

  Message arriving_;
  std::deque<Message> waiting_;  // for pushes that were posted before them
  size_t waiting_bytes_ = 0;
  DoneUpTo pushes_landed_;
};

}  // namespace droidspeak::tcp
