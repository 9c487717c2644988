// SPDX-License-Identifier: Apache-2.0
// One end of a verbs connection: its queue pairs, what is under way on them, and how they end.
#pragma once

#include <infiniband/verbs.h>

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/time/time.h"
#include "common/transport/channel_connection.h"
#include "common/transport/done_up_to.h"
#include "common/transport/region_table.h"
#include "common/transport/transport.h"
#include "common/transport/verbs/device.h"
#include "common/transport/verbs/frame.h"
#include "common/transport/verbs/introduction.h"
#include "common/transport/verbs/queue_pair.h"
#include "common/transport/verbs/resources.h"

namespace droidspeak::verbs {

class VerbsWorker;

// Messages that have no credit yet are kept up to this, then Send is refused.
inline constexpr size_t kMaxQueuedBytes = size_t{8} << 20;

// Owned by the worker, which keeps it until nothing moves any more, and by the user's VerbsConnection for its calls.
// Events are told from the worker's Progress() only. Not thread-safe.
//
// Frames and transfers share the first queue pair, whose order is what makes a message follow the pushes before it;
// with several queue pairs a message waits for the completion of those that went elsewhere.
//
// Ending: open → ending (nothing new starts; a goodbye is on its way) → closed (the queue pairs are destroyed: no byte
// moves any more; OnClosed has been told).
class VerbsChannel {
 public:
  enum class Role { kClient, kServer };

  // With queue pairs in INIT and receives posted.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<VerbsChannel>> Create(VerbsWorker& worker, uint64_t id, Role role,
                                                                            size_t queue_pairs);

  Introduction introduction() const;
  // Connects to what `peer` has said of itself. A client says so to the server, which is silent until then.
  [[nodiscard]] absl::Status Connect(const Introduction& peer);

  void set_events(ConnectionEvents* events) { events_ = events; }
  void set_connection(Connection* connection) { connection_ = connection; }
  // The user lets go of it: it ends without events.
  void Detach();

  // As Connection's.
  absl::Status Send(absl::Span<const std::byte> message);
  absl::Status AnnounceRegion(uint32_t region, const MemoryRegion& memory);
  absl::Status WithdrawRegion(uint32_t region);
  void Authorize() { authorized_ = true; }
  absl::Status Push(const std::byte* source, const RemoteRange& to, uint64_t token);
  absl::Status Pull(std::byte* destination, const RemoteRange& from, uint64_t token);
  void Close() { End(absl::CancelledError("closed by this end"), true); }
  const std::string& peer() const { return peer_; }

  // For the worker.
  uint64_t id() const { return id_; }
  size_t queue_pairs() const { return queues_.size(); }
  void OnReceived(uint32_t slot, uint32_t bytes);
  void OnSent(size_t queue);
  void OnFailed(const ibv_wc& completion);
  // Ends it, since what it stands on has gone; `peer_may_hear`: say goodbye.
  void End(const absl::Status& why, bool peer_may_hear);
  // Posts what can be, tells what has ended. Returns how many things it did.
  int Turn(absl::Time now);
  // Lets a silent peer answer, or be found dead.
  void Probe(absl::Time now);
  bool connecting() const { return state_ == State::kConnecting; }
  bool ending() const { return state_ == State::kEnding; }
  bool alive() const { return connecting() || state_ == State::kOpen; }
  bool disposable() const { return state_ == State::kClosed && connection_ == nullptr; }

 private:
  friend class VerbsWorker;
  enum class State { kConnecting, kOpen, kEnding, kClosed };

  struct Transfer {
    ibv_wr_opcode opcode;
    std::byte* local;
    uint32_t local_key;
    void (*flush)();  // where something is read into; null: needs none
    uint64_t remote;
    uint32_t remote_key;
    uint64_t bytes;
    uint64_t token;
    uint64_t push_number;  // of a push
    uint64_t posted = 0;
    uint32_t pieces_out = 0;
    Registration own;  // of memory that the worker has not registered
  };
  struct Announced {
    Registration registration;
    void (*flush)();  // of a device's memory; null: needs none
  };
  struct QueuedFrame {
    FrameType type;
    uint64_t pushes_before;
    std::vector<std::byte> bytes;
    size_t sent = 0;
  };

  VerbsChannel(VerbsWorker& worker, uint64_t id, Role role);
  [[nodiscard]] absl::Status Open(size_t queue_pairs);

  // Sending: verbs_send.cc.
  [[nodiscard]] absl::Status CheckOpen() const;
  [[nodiscard]] absl::Status StartTransfer(ibv_wr_opcode opcode, std::byte* local, const RemoteRange& range,
                                           uint64_t token);
  [[nodiscard]] absl::Status Queue(FrameType type, absl::Span<const std::byte> bytes);
  bool MayPost(const QueuedFrame& frame) const;
  int AddFrames();
  int AddPieces();
  void AddFrame(FrameType type, bool last, absl::Span<const std::byte> bytes);
  void PostLists();
  int PostAll();
  int TellDone();

  // Receiving: verbs_receive.cc.
  [[nodiscard]] absl::Status OnFrame(const FrameHeader& header, absl::Span<const std::byte> payload);
  void Flush();
  void TellMessage(absl::Span<const std::byte> message);
  [[nodiscard]] absl::Status OnMessagePart(bool last, absl::Span<const std::byte> part);
  [[nodiscard]] absl::Status OnAnnounce(absl::Span<const std::byte> payload);
  [[nodiscard]] absl::Status OnWithdraw(absl::Span<const std::byte> payload);
  [[nodiscard]] absl::Status PostReceive(uint32_t slot);

  void Finish();

  VerbsWorker& worker_;
  const std::shared_ptr<Device> device_;
  const uint64_t id_;
  const Role role_;
  std::string peer_ = "verbs";
  ConnectionEvents* events_ = nullptr;
  Connection* connection_ = nullptr;
  State state_ = State::kConnecting;
  absl::Status why_;
  absl::Time finish_at_;
  bool authorized_ = false;
  bool in_turn_ = false;  // kept by the worker

  // In the order of destruction, last to first: queue pairs, registrations, domain.
  ProtectionDomain own_domain_;    // a client's: what one server may touch, another may not
  std::vector<std::byte> frames_;  // receives, then sends
  Registration frames_registration_;
  std::map<uint32_t, Announced> announced_;  // a client's regions
  std::map<uint64_t, Transfer> transfers_;   // by number, not ended
  std::vector<QueuePair> queues_;

  RegionTable regions_;  // a server's have the client's addresses
  absl::flat_hash_map<uint32_t, uint32_t> remote_keys_;
  uint64_t transfers_started_ = 0;
  uint64_t next_to_post_ = 0;  // the transfer
  uint64_t pushes_started_ = 0;
  uint64_t pushes_posted_ = 0;  // wholly
  DoneUpTo pushes_ended_;
  std::vector<uint64_t> done_;  // tokens

  std::deque<QueuedFrame> queued_;
  size_t queued_bytes_ = 0;
  uint64_t frames_sent_ = 0;   // posted
  uint64_t frames_ended_ = 0;  // of those
  uint32_t credit_ = 0;        // frames that the peer takes
  uint32_t owed_ = 0;          // receives posted again that the peer does not know of
  absl::Time last_sent_ = absl::InfinitePast();
  std::vector<std::byte> message_;  // in parts
};

using VerbsConnection = ChannelConnection<VerbsChannel>;

}  // namespace droidspeak::verbs
