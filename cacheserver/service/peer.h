// SPDX-License-Identifier: Apache-2.0
// One data-plane connection: proves who it is, then asks for coverage, fetches, stores.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "cacheserver/service/inbox.h"
#include "cacheserver/service/scheduler.h"
#include "cacheserver/service/service_metrics.h"
#include "cacheserver/service/session_table.h"
#include "cacheserver/store.h"
#include "common/transport/hello.h"
#include "common/transport/messages.h"
#include "common/transport/transport.h"

namespace droidspeak {

// What all peers of a data thread share.
struct DataContext {
  ExtentStore& store;
  SessionTable& sessions;
  ServiceMetrics& metrics;
  Scheduler& scheduler;
  std::shared_ptr<Inbox> inbox;
  absl::Duration offer_lease;
  bool draining = false;                       // the server is shutting down: no new requests
  const std::atomic<bool>* drained = nullptr;  // an operator drains the server: no new offers; null: nobody can
};

// `status` as text of an answer, cut to what a message carries.
std::string AnswerText(const absl::Status& status);

// Owned by the data loop and, briefly, by callbacks of the store; belongs to the data thread. What its requests hold
// is given back when they end, and all of it when the connection closes. Whatever a peer sends is checked here or by
// the decoder; what is no valid message of a client closes the connection.
class Peer final : public ConnectionEvents, public std::enable_shared_from_this<Peer> {
 public:
  Peer(DataContext& context, std::string_view transport, std::unique_ptr<Connection> connection, absl::Time now);
  ~Peer() override;

  void OnMessage(Connection& connection, absl::Span<const std::byte> message) override;
  void OnTransferDone(Connection& connection, uint64_t token, const absl::Status& status) override;
  void OnClosed(Connection& connection, const absl::Status& why) override;

  // Looks at clocks: the hello's, the session's, the requests' and holds'.
  void Tick(absl::Time now);
  void Close();
  bool authenticated() const { return session_ != nullptr; }
  bool closed() const { return closed_; }
  bool has_requests() const { return !transfers_.empty() || !offers_.empty(); }

  // For transfers.
  DataContext& context() { return context_; }
  Connection& connection() { return *connection_; }
  const std::shared_ptr<Session>& session() const { return session_; }
  // Sends, or closes the connection when it doesn't take more.
  void Send(const wire::Message& message);
  prometheus::Counter& FetchBytes(Kind kind, Tier tier) {
    return *fetch_bytes_[static_cast<size_t>(kind)][static_cast<size_t>(tier)];
  }
  void TransferEnded(Transfer& transfer, bool cancelled);

 private:
  // An offer, from OFFER to its end: a SEAL or CANCEL, carried out once its fills have ended, or the connection's.
  struct OpenOffer {
    OfferPtr offer;
    Layout layout;
    std::vector<Digest> hashes;
    int fills = 0;
    std::optional<wire::SealRequest> seal;
    bool cancel = false;
  };
  struct Hold {
    absl::Time until;
    uint64_t bytes;
    References references;
  };

  void Greet(absl::Span<const std::byte> message);
  void Handle(const wire::CoverageRequest& request);
  void Handle(wire::FetchRequest& request);
  void Handle(const wire::OfferRequest& request);
  void Handle(wire::FillRequest& request);
  void Handle(const wire::SealRequest& request);
  void Handle(const wire::CancelRequest& request);
  void Handle(const wire::ActionRequest& request);
  // The types that only a server sends, and the hello's when it is over.
  template <typename T>
  void Handle(const T&) {
    Misbehaved(absl::InvalidArgumentError("a message that clients don't send"));
  }

  // Whether the session has the role, and room for another request.
  absl::Status Admit(uint64_t request_id, Role role) const;
  absl::StatusOr<const SessionNamespace*> FindNamespace(uint32_t id) const;
  absl::Status StartFetch(wire::FetchRequest& request);
  absl::Status StartOffer(const wire::OfferRequest& request);
  absl::Status StartFill(wire::FillRequest& request);
  absl::StatusOr<uint32_t> Act(const wire::ActionRequest& request);
  void AddHold(const SessionNamespace& space, const wire::CoverageGroup& group,
               absl::Span<const wire::BlockCoverage> coverage, uint32_t hold_ms);
  uint32_t NextSerial() { return next_serial_++; }
  void EndOfferIfDrained(uint64_t offer_id);
  void Refuse(uint64_t request_id, const absl::Status& why);
  void Misbehaved(const absl::Status& why);

  DataContext& context_;
  const std::string transport_;
  std::unique_ptr<Connection> connection_;
  const absl::Time connected_;
  std::array<std::array<prometheus::Counter*, kTiers>, 2> fetch_bytes_;
  ServerHandshake handshake_;
  std::shared_ptr<Session> session_;  // null until the hello has passed
  bool closing_ = false;
  bool closed_ = false;

  uint32_t next_serial_ = 1;
  absl::flat_hash_map<uint32_t, std::shared_ptr<Transfer>> transfers_;  // by serial
  absl::flat_hash_map<uint64_t, uint32_t> serials_;                     // by request
  absl::flat_hash_map<uint64_t, OpenOffer> offers_;                     // by request
  size_t offered_blocks_ = 0;
  std::deque<Hold> holds_;
  uint64_t held_bytes_ = 0;
  absl::Time last_progress_;  // of its transfers; kept at the present while there are none
};

}  // namespace droidspeak
