// SPDX-License-Identifier: Apache-2.0
// Two ends of a transport in one thread, and what happened to them: the ground the conformance tests stand on.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "common/memory/host_arena.h"
#include "common/transport/transport.h"

namespace droidspeak {

// Notes the events of a connection, and fails the test when one breaks the contract.
class Recorder : public ConnectionEvents {
 public:
  void OnMessage(Connection& connection, absl::Span<const std::byte> message) override;
  void OnTransferDone(Connection& connection, uint64_t token, const absl::Status& status) override;
  void OnClosed(Connection& connection, const absl::Status& why) override;

  std::vector<std::string> messages;
  std::map<uint64_t, absl::Status> done;  // by token
  std::optional<absl::Status> closed;
  std::function<void(Connection&, const std::string&)> on_message;  // after it was noted
  std::function<void(Connection&, uint64_t token)> on_done;         // likewise
};

// A process of transport_peer.cc. Killed, and waited for, when destroyed.
class PeerProcess {
 public:
  explicit PeerProcess(const std::vector<std::string>& arguments);
  ~PeerProcess();
  void Kill();  // SIGKILL
  // The first line that it printed.
  std::string ReadLine();

 private:
  int pid_ = -1;
  int out_ = -1;
};

std::string TextOf(absl::Span<const std::byte> bytes);
absl::Span<const std::byte> BytesOf(const std::string& text);
// Bytes that differ by seed and place.
std::string Pattern(uint64_t seed, size_t bytes);

// A transport with a listening server worker and a client worker.
class TransportTest : public testing::TestWithParam<std::string> {
 protected:
  static constexpr uint64_t kArenaBytes = 16 << 20;

  void SetUp() override;
  void TearDown() override;

  // Progresses both workers until `condition`, sleeping on their event descriptors when idle; false after a minute.
  bool RunUntil(const std::function<bool()>& condition);
  // Connects a client with `client` as events and waits for the server's end, which is authorized.
  void ConnectBoth();
  // The same, and announces the client's arena as region 1.
  void ConnectWithRegion();

  MemoryRegion ClientRegion() const { return {client_arena_->base(), client_arena_->bytes(), client_arena_->fd()}; }
  std::string ListenAddress() const;

  const Transport* transport_ = nullptr;
  std::unique_ptr<HostArena> server_arena_;
  std::unique_ptr<HostArena> client_arena_;
  std::unique_ptr<Worker> server_worker_;
  std::unique_ptr<Worker> client_worker_;
  std::string address_;
  bool refuse_ = false;  // what the server does with new connections
  bool authorize_ = true;
  Recorder server_;  // events of every server connection, unless a test sets accept_events_
  std::function<ConnectionEvents*()> accept_events_;
  Recorder client_;
  std::vector<std::unique_ptr<Connection>> accepted_;
  std::unique_ptr<Connection> connection_;  // the client's
};

}  // namespace droidspeak
