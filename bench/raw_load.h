// SPDX-License-Identifier: Apache-2.0
// What a transport moves by itself: extents between two prefaulted arenas in two processes, with no index, no
// checksums and nothing to look up. The bound that fetch and store are measured against.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "bench/self_process.h"
#include "common/memory/host_arena.h"
#include "common/transport/transport.h"

namespace droidspeak::bench {

struct RawShape {
  int layers = 32;
  int blocks = 32;
  uint64_t extent_bytes = 1 << 20;
  uint64_t layer_bytes() const { return blocks * extent_bytes; }
  uint64_t total_bytes() const { return layers * layer_bytes(); }
};

enum class RawDirection : uint32_t { kPush = 0, kPull = 1 };  // as a fetch moves bytes, and as a store does

struct RawTimes {
  double seconds = 0;
  double first_layer_seconds = 0;  // of pushes
  double cpu_seconds = 0;          // of both processes
};

// The client's end, and the process of the server's. Not thread-safe.
class RawLoad {
 public:
  // Starts this program again as the server (`raw-server`), connects and announces the client's arena. `transport` is
  // one's name, or "tls": tcp, encrypted.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<RawLoad>> Create(const std::string& transport,
                                                                       const RawShape& shape);
  ~RawLoad();
  RawLoad(const RawLoad&) = delete;
  RawLoad& operator=(const RawLoad&) = delete;

  // Moves everything once.
  [[nodiscard]] absl::StatusOr<RawTimes> Run(RawDirection direction);
  // The client's arena, total_bytes large.
  HostArena& arena() { return *arena_; }

 private:
  class Events;
  RawLoad() = default;

  RawShape shape_;
  std::unique_ptr<SelfProcess> server_;
  std::string socket_path_;
  std::unique_ptr<HostArena> arena_;
  std::unique_ptr<Worker> worker_;
  std::unique_ptr<Events> events_;
  std::unique_ptr<Connection> connection_;
};

// The transport of that name; "tls" is tcp, with RawKey() at both ends.
[[nodiscard]] absl::StatusOr<const Transport*> FindRawTransport(const std::string& name);
SharedKey RawKey();

// The server process: prints the address it is bound to, serves one client and returns when that has gone.
[[nodiscard]] absl::Status ServeRaw(const std::string& transport, const std::string& address, const RawShape& shape);

}  // namespace droidspeak::bench
