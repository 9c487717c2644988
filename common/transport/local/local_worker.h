// SPDX-License-Identifier: Apache-2.0
// The worker of the `local` transport: one epoll set for its listener and connections.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "common/transport/acceptor.h"
#include "common/transport/local/local_connection.h"
#include "common/transport/local/unix_socket.h"
#include "common/transport/region_table.h"
#include "common/transport/transport.h"

namespace droidspeak::local {

// Owns the epoll set, the listener and its socket file; not the connections, which it knows by id, so that a handler
// may destroy another connection than its own. Not thread-safe.
class LocalWorker final : public Worker {
 public:
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<Worker>> Create();
  ~LocalWorker() override;

  absl::StatusOr<std::string> Listen(const std::string& address, AcceptFunction accept) override;
  absl::StatusOr<std::unique_ptr<Connection>> Connect(const std::string& address, ConnectionEvents* events) override;
  absl::Status Register(const MemoryRegion& memory) override { return CheckHostMemory(memory); }
  int Progress() override;
  bool Arm() override { return transfers_done_.empty() && closed_.empty(); }
  int event_fd() const override { return epoll_.get(); }

  // For its connections.
  uint64_t NewId() { return ++last_id_; }
  void Add(LocalConnection* connection);
  void Remove(LocalConnection* connection);
  void WatchOutput(LocalConnection* connection, bool on);
  // These are told of from the next Progress(); transfers before closings.
  void AddTransferDone(uint64_t connection_id, uint64_t token) { transfers_done_.emplace_back(connection_id, token); }
  void AddClosed(LocalConnection* connection);

 private:
  struct Known {
    LocalConnection* connection;
    bool watches_output = false;
  };

  explicit LocalWorker(OwnedFd epoll) : epoll_(std::move(epoll)) {}

  LocalConnection* Find(uint64_t id) const;
  int TellDeferred();
  void AcceptAll();
  void Offer(OwnedFd socket);

  OwnedFd epoll_;
  std::optional<Acceptor> acceptor_;
  std::string path_;
  dev_t path_device_ = 0;  // of the socket file, which may have been replaced since
  ino_t path_inode_ = 0;
  AcceptFunction accept_;
  uint64_t last_id_ = 0;  // 0: the listener
  absl::flat_hash_map<uint64_t, Known> connections_;
  std::vector<std::pair<uint64_t, uint64_t>> transfers_done_;  // connection, token
  std::vector<uint64_t> closed_;
};

}  // namespace droidspeak::local
