// SPDX-License-Identifier: Apache-2.0
// An end of a transport in a process of its own, for tests that kill it.
//   transport_peer client TRANSPORT ADDRESS   announces 4 MiB as region 1, says "ready"
//   transport_peer server TRANSPORT ADDRESS   prints the address bound; at the first message of a client, which must
//                                             have announced region 1, pushes into it without end and says so
#include <poll.h>

#include <cstdio>
#include <memory>
#include <string>

#include "common/base/check.h"
#include "common/memory/host_arena.h"
#include "common/transport/transport.h"
#include "tests/transport/find_tested.h"

namespace droidspeak {
namespace {

constexpr uint64_t kPushBytes = 1 << 20;

struct Peer final : ConnectionEvents {
  void OnMessage(Connection& connection, absl::Span<const std::byte>) override {
    if (!server) return;
    for (uint64_t token = 0; token < 4; ++token) Push(connection, token);
  }
  void OnTransferDone(Connection& connection, uint64_t token, const absl::Status& status) override {
    if (!status.ok()) return;
    Push(connection, token);
    Say(connection, "pushed");
  }
  void OnClosed(Connection&, const absl::Status&) override { closed = true; }

  void Say(Connection& connection, const std::string& text) {
    connection.Send({reinterpret_cast<const std::byte*>(text.data()), text.size()}).IgnoreError();
  }
  void Push(Connection& connection, uint64_t token) {
    connection.Push(arena->base() + token * kPushBytes, {1, token * kPushBytes, kPushBytes}, token).IgnoreError();
  }

  std::unique_ptr<HostArena> arena;
  bool server = false;
  bool closed = false;
};

int Run(const std::string& role, const std::string& transport_name, const std::string& address) {
  auto transport = FindTestedTransport(transport_name);
  DROIDSPEAK_CHECK(transport.ok());
  Peer peer;
  auto arena = HostArena::Create("transport-peer", 4 * kPushBytes);
  DROIDSPEAK_CHECK(arena.ok());
  peer.arena = *std::move(arena);
  auto worker = (*transport)->CreateWorker();
  DROIDSPEAK_CHECK(worker.ok());
  std::unique_ptr<Connection> connection;
  if (role == "server") {
    peer.server = true;
    auto bound = (*worker)->Listen(address, [&](std::unique_ptr<Connection> accepted) {
      accepted->Authorize();
      connection = std::move(accepted);
      return &peer;
    });
    DROIDSPEAK_CHECK(bound.ok());
    std::printf("%s\n", bound->c_str());
    std::fflush(stdout);
  } else {
    auto connected = (*worker)->Connect(address, &peer);
    DROIDSPEAK_CHECK(connected.ok());
    connection = *std::move(connected);
    DROIDSPEAK_CHECK(connection->AnnounceRegion(1, {peer.arena->base(), peer.arena->bytes(), peer.arena->fd()}).ok());
    peer.Say(*connection, "ready");
  }
  while (!peer.closed) {
    if ((*worker)->Progress() > 0 || !(*worker)->Arm()) continue;
    pollfd fd{(*worker)->event_fd(), POLLIN, 0};
    ::poll(&fd, 1, 60'000);
  }
  connection.reset();
  return 0;
}

}  // namespace
}  // namespace droidspeak

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  return droidspeak::Run(argv[1], argv[2], argv[3]);
}
