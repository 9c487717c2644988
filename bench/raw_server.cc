// SPDX-License-Identifier: Apache-2.0
// The server process of the raw benchmark.
#include <poll.h>

#include <iostream>

#include "bench/raw_load.h"
#include "bench/raw_messages.h"
#include "common/base/status.h"

namespace droidspeak::bench {
namespace {

// Transfers under way at a time: enough that the next is always ready, few enough that layers end in order.
constexpr uint64_t kWindow = 16;

class Server final : public ConnectionEvents {
 public:
  Server(const RawShape& shape, HostArena& arena) : shape_(shape), arena_(arena) {}

  void OnMessage(Connection& connection, absl::Span<const std::byte> message) override {
    if (!ReadAs(message, request_)) return connection.Close();
    next_ = done_ = 0;
    cpu_at_start_ = OwnCpuSeconds();
    while (next_ < kWindow && next_ < extents()) Start(connection);
  }

  void OnTransferDone(Connection& connection, uint64_t, const absl::Status& status) override {
    if (!status.ok()) return;
    ++done_;
    if (next_ < extents()) Start(connection);
    const bool layer_done = done_ % shape_.blocks == 0;
    if (request_.direction == RawDirection::kPull && layer_done) Say(connection, done_ / shape_.blocks);
    if (request_.direction == RawDirection::kPush && done_ == extents()) Say(connection, shape_.layers);
  }

  void OnClosed(Connection&, const absl::Status&) override { closed_ = true; }
  bool closed() const { return closed_; }

 private:
  uint64_t extents() const { return static_cast<uint64_t>(shape_.layers) * shape_.blocks; }

  void Start(Connection& connection) {
    const uint64_t offset = next_ * shape_.extent_bytes;
    const RemoteRange range{1, offset, shape_.extent_bytes};
    const absl::Status started = request_.direction == RawDirection::kPush
                                     ? connection.Push(arena_.base() + offset, range, next_)
                                     : connection.Pull(arena_.base() + offset, range, next_);
    if (!started.ok()) return connection.Close();
    ++next_;
    // A message waits for the pushes before it: the client sees it when the layer has landed.
    if (request_.direction == RawDirection::kPush && next_ % shape_.blocks == 0 && next_ < extents()) {
      Say(connection, next_ / shape_.blocks);
    }
  }

  void Say(Connection& connection, uint64_t layers) {
    const bool finished = done_ == extents();
    const RawReply reply{static_cast<uint32_t>(layers), finished ? 1u : 0u, OwnCpuSeconds() - cpu_at_start_};
    if (!connection.Send(BytesOf(reply)).ok()) connection.Close();
  }

  const RawShape shape_;
  HostArena& arena_;
  RawRequest request_{};
  uint64_t next_ = 0;
  uint64_t done_ = 0;
  double cpu_at_start_ = 0;
  bool closed_ = false;
};

}  // namespace

absl::Status ServeRaw(const std::string& transport_name, const std::string& address, const RawShape& shape) {
  ASSIGN_OR_RETURN(const Transport* const transport, FindRawTransport(transport_name));
  ASSIGN_OR_RETURN(const auto arena, HostArena::Create("raw-server", shape.total_bytes()));
  ASSIGN_OR_RETURN(const auto worker, transport->CreateWorker());
  RETURN_IF_ERROR(worker->Register({arena->base(), arena->bytes(), arena->fd()}));
  if (transport_name == "tls") {
    RETURN_IF_ERROR(worker->AcceptEncryptedOnly([](std::string_view) { return RawKey().key; }));
  }
  Server server(shape, *arena);
  std::unique_ptr<Connection> connection;
  ASSIGN_OR_RETURN(const std::string bound, worker->Listen(address, [&](std::unique_ptr<Connection> accepted) {
    if (connection != nullptr) return static_cast<Server*>(nullptr);
    accepted->Authorize();
    connection = std::move(accepted);
    return &server;
  }));
  std::cout << bound << std::endl;
  while (!server.closed()) {
    if (worker->Progress() > 0 || !worker->Arm()) continue;
    pollfd fd{worker->event_fd(), POLLIN, 0};
    ::poll(&fd, 1, -1);
  }
  connection.reset();
  return absl::OkStatus();
}

}  // namespace droidspeak::bench
