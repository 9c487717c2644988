// SPDX-License-Identifier: Apache-2.0
// One authenticated data-plane connection to one server, and the requests under way on it.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "client/src/reactor.h"
#include "client/src/region.h"
#include "common/transport/hello.h"
#include "common/transport/messages.h"
#include "common/transport/transport.h"

namespace droidspeak {

// A request under way. The calls come on the reactor's thread; after OnAnswer returned true, or OnLost, none follows.
class Pending {
 public:
  virtual ~Pending() = default;
  // True when the request is over.
  virtual bool OnAnswer(const wire::Message& message) = 0;
  // The connection was given up: no answer will come. Transfers may still touch this process's memory until OnLost.
  virtual void OnGivenUp(const absl::Status& why) = 0;
  // The connection is gone, and no transfer of it touches this process's memory any more.
  virtual void OnLost(const absl::Status& why) = 0;
};

// What OpenSession answered.
struct SessionInfo {
  uint64_t id = 0;
  SessionKey key{};
  std::string server_name;
  std::string transport;
  std::string address;
  bool encrypted = false;   // with a key that follows from `key`
  bool introduced = false;  // over the control plane, not by its address
  std::string reason;       // why this transport
};

// Made anew for each connection: a link that has closed stays closed. Thread-safe; the connection itself is touched on
// the reactor's thread only. Held by shared_ptr, so that whoever still waits for it may.
class Link : public ConnectionEvents, public std::enable_shared_from_this<Link> {
 public:
  // `on_closed` is called once, on the reactor's thread, when the link has closed (also when it never came up).
  // `introduce` is for transports that need it.
  Link(Reactor& reactor, SessionInfo session, Introduce introduce, std::function<void(const absl::Status&)> on_closed);

  // Connects and says hello; `on_ready` is called on the reactor's thread once the link is live. `regions` are
  // announced before that.
  void Start(std::vector<std::shared_ptr<RegionMemory>> regions, std::function<void()> on_ready);

  bool live() const { return live_.load(std::memory_order_acquire); }
  const SessionInfo& session() const { return session_; }

  uint64_t NextRequestId() { return next_request_id_.fetch_add(1, std::memory_order_relaxed); }
  // Sends `message`, which carries request id `id`; `pending` gets what comes back. On a dead link that is OnLost.
  void Submit(uint64_t id, std::shared_ptr<Pending> pending, const wire::Message& message);
  // Sends a message whose answer goes to a request already under way, or nowhere.
  void Send(const wire::Message& message);

  void Announce(std::shared_ptr<RegionMemory> memory);
  void Withdraw(uint32_t region);
  // Gives the connection up; OnLost of what is under way follows when the transport has let go.
  void Close(const absl::Status& why);
  // Destroys the connection on the calling (reactor's) thread. Requests still under way are lost.
  void Drop();

  // ConnectionEvents, on the reactor's thread.
  void OnMessage(Connection& connection, absl::Span<const std::byte> bytes) override;
  void OnTransferDone(Connection&, uint64_t, const absl::Status&) override {}
  void OnClosed(Connection& connection, const absl::Status& why) override;

 private:
  void Connect();
  absl::StatusOr<std::unique_ptr<Connection>> ConnectBy(Worker& worker);
  void Disconnect();
  absl::Status Handle(absl::Span<const std::byte> bytes);
  absl::Status BecomeLive();
  void GiveUp(const absl::Status& why);
  void Ended(const absl::Status& why);

  Reactor& reactor_;
  const SessionInfo session_;
  const Introduce introduce_;
  std::atomic<uint64_t> next_request_id_{1};
  std::atomic<bool> live_{false};

  // Below: the reactor's thread only.
  std::function<void(const absl::Status&)> on_closed_;
  std::function<void()> on_ready_;
  ClientHandshake handshake_;
  std::unique_ptr<Connection> connection_;
  std::shared_ptr<Link> self_;  // while there is a connection, so that it is destroyed on the reactor's thread only
  std::vector<std::shared_ptr<RegionMemory>> announced_;
  absl::flat_hash_map<uint64_t, std::shared_ptr<Pending>> pending_;
  std::optional<absl::Status> given_up_;  // why
  bool ended_ = false;
};

}  // namespace droidspeak
