// SPDX-License-Identifier: Apache-2.0
// One end of a UCX connection: its endpoint, what is under way on it, and the order of what arrives.
#pragma once

#include <ucp/api/ucp.h>

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "common/transport/channel_connection.h"
#include "common/transport/done_up_to.h"
#include "common/transport/region_table.h"
#include "common/transport/transport.h"
#include "common/transport/ucx/am.h"

namespace droidspeak::ucx {

class UcxWorker;

// Control messages that UCX has not taken yet are kept up to this, then Send is refused.
inline constexpr size_t kMaxQueuedBytes = size_t{8} << 20;

// Owned by the worker, which keeps it until UCX has let go of the endpoint and of all operations, and the user of the
// connection (UcxConnection). UCX's callbacks only note what happened and ask the worker for a turn; Handle() then
// tells the user, outside UCX. Not thread-safe.
//
// Ending: open → ending (something went wrong or Close(); nothing new starts) → closing (the endpoint is being closed
// by force, which cancels what is under way) → closed (drained: no byte moves any more; OnClosed has been told).
class UcxChannel {
 public:
  enum class Role { kClient, kServer };

  UcxChannel(UcxWorker* worker, ucp_worker_h ucp_worker, Role role, std::string peer);
  ~UcxChannel();

  // The endpoint made with `params`, whose error handling is set here. Once.
  [[nodiscard]] absl::Status Open(ucp_ep_params_t params);
  void set_events(ConnectionEvents* events) { events_ = events; }
  // The user's end of it, until detached.
  void set_connection(Connection* connection) { connection_ = connection; }
  void Detach();

  // As Connection's.
  absl::Status Send(absl::Span<const std::byte> message);
  absl::Status AnnounceRegion(uint32_t region, const MemoryRegion& memory);
  absl::Status WithdrawRegion(uint32_t region);
  void Authorize() { authorized_ = true; }
  absl::Status Push(const std::byte* source, const RemoteRange& to, uint64_t token);
  absl::Status Pull(std::byte* destination, const RemoteRange& from, uint64_t token);
  void Close();
  const std::string& peer() const { return peer_; }

  // An active message has arrived: from within UCX.
  ucs_status_t OnActiveMessage(unsigned id, const void* header, size_t header_bytes, void* data, size_t bytes,
                               bool is_rendezvous);
  // The endpoint has failed: from within UCX.
  void OnError(ucs_status_t status);

  // Tells what happened since. Returns how many things it did.
  int Handle();
  bool closed() const { return state_ == State::kClosed; }
  // Nobody needs it any more.
  bool disposable() const { return closed() && connection_ == nullptr; }
  ucp_ep_h endpoint() const { return endpoint_; }

 private:
  friend class UcxWorker;
  enum class State { kOpen, kEnding, kClosing, kClosed };
  struct Operation;  // something that UCX works on: operation.h
  struct Control {   // a control message that waits for its turn
    ControlHeader header;
    std::vector<std::byte> bytes;
  };
  struct PendingPull {
    std::byte* destination;
    uint64_t bytes;
    uint64_t token;
    bool receiving;
  };

  // Sending: ucx_channel.cc.
  [[nodiscard]] absl::Status CheckOpen() const;
  [[nodiscard]] absl::Status CheckTransfer(const RemoteRange& range) const;
  [[nodiscard]] absl::Status SendControl(ControlHeader header, absl::Span<const std::byte> message);
  void StartSend(unsigned id, std::unique_ptr<Operation> operation, const std::byte* data, size_t bytes);
  void AnswerPull(const PullHeader& request);
  static void OnSent(void* request, ucs_status_t status, void* user_data);
  void Complete(Operation& operation, ucs_status_t status);

  // Receiving: ucx_receive.cc. False: the peer broke the protocol.
  bool OnControl(const ControlHeader& header, void* data, size_t bytes, bool is_rendezvous);
  bool OnPush(const PushHeader& header, void* data, size_t bytes, bool is_rendezvous);
  bool OnPullRequest(const PullHeader& header);
  bool OnPullData(const PullHeader& header, void* data, size_t bytes, bool is_rendezvous);
  void StartReceive(std::unique_ptr<Operation> operation, void* descriptor, std::byte* to, size_t bytes);
  static void OnReceived(void* request, ucs_status_t status, size_t bytes, void* user_data);
  bool AddArrived(Control control);
  int DeliverControls();
  void Deliver(Control& control);

  // Ending: ucx_channel.cc.
  void End(const absl::Status& why, bool at_once);
  void CloseEndpoint();
  bool IsDrained();
  void Finish();

  UcxWorker* const worker_;
  const ucp_worker_h ucp_worker_;
  const Role role_;
  const std::string peer_;
  ucp_ep_h endpoint_ = nullptr;
  ucs_status_ptr_t close_request_ = nullptr;
  ConnectionEvents* events_ = nullptr;
  Connection* connection_ = nullptr;
  State state_ = State::kOpen;
  absl::Status why_;
  bool deliver_rest_ = true;  // messages that came before the end are still told of
  bool authorized_ = false;
  bool in_turn_ = false;  // the worker will call Handle(): kept by the worker

  RegionTable regions_;
  size_t outstanding_ = 0;  // operations that UCX has
  size_t queued_bytes_ = 0;
  uint64_t controls_sent_ = 0;
  uint64_t pushes_sent_ = 0;
  uint64_t pulls_sent_ = 0;
  absl::flat_hash_map<uint64_t, PendingPull> pulls_;
  std::vector<std::pair<uint64_t, absl::Status>> transfers_done_;  // token, how

  uint64_t next_control_ = 0;  // to deliver
  size_t arrived_bytes_ = 0;
  std::map<uint64_t, Control> arrived_;
  DoneUpTo pushes_landed_;
  std::vector<PullHeader> pull_requests_;
};

using UcxConnection = ChannelConnection<UcxChannel>;

}  // namespace droidspeak::ucx
