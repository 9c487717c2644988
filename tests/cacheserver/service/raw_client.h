// SPDX-License-Identifier: Apache-2.0
// A client that speaks the protocols message by message, so that tests can also say what no real client would.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "common/key/digest.h"
#include "common/key/layout.h"
#include "common/memory/host_arena.h"
#include "common/transport/messages.h"
#include "common/transport/transport.h"

namespace droidspeak {

// What a test waits for at most: generous, for sanitizers on a busy machine.
inline constexpr absl::Duration kLimit = absl::Seconds(60);

// Progresses a worker until `condition`, sleeping while it is idle; false after `limit`.
bool DriveUntil(Worker& worker, const std::function<bool()>& condition, absl::Duration limit);

struct RawSession {
  uint64_t id = 0;
  std::string key;
  std::string transport;
  std::string data_address;
  std::string secret_id;
  uint64_t epoch = 0;
};

struct RawNamespace {
  uint32_t id = 0;
  Digest bytes;
  Layout layout;
};

// The control plane of a server at `listen`. Errors are the server's.
absl::StatusOr<RawSession> OpenRawSession(const std::string& listen, const std::string& transport,
                                          uint32_t protocol_version = 1, const std::string& detail = "");
absl::StatusOr<RawNamespace> OpenRawNamespace(const std::string& listen, const RawSession& session,
                                              const std::string& layout, const std::string& weights_name = "weights");
absl::Status CloseRawSession(const std::string& listen, const RawSession& session);
absl::Status RawHeartbeat(const std::string& listen, const RawSession& session);

// One data-plane connection with one region, number 1. Used by one thread, which drives it while it waits.
class RawConnection : public ConnectionEvents {
 public:
  static constexpr uint32_t kRegion = 1;

  // Connects without a hello.
  RawConnection(const RawSession& session, uint64_t region_bytes);
  ~RawConnection() override;

  // The hello, then the announcement of the region. False if the connection was closed instead.
  bool Hello(std::optional<std::string> other_key = std::nullopt);

  void Send(const wire::Message& message) { SendBytes(wire::Encode(message)); }
  void SendBytes(absl::Span<const std::byte> bytes);
  void Close();

  // The next message if it is a T; fails the test, and returns an empty one, when it is another or none comes in time.
  template <typename T>
  T Expect() {
    std::optional<wire::Message> message = Next();
    if (message.has_value() && std::holds_alternative<T>(*message)) return std::get<T>(*std::move(message));
    Unexpected(message);
    return T{};
  }
  // The next message, whatever it is; nothing when the connection closed or the limit passed.
  std::optional<wire::Message> Next();
  // Drives the connection until `condition`; false when the limit passed.
  bool DriveUntil(const std::function<bool()>& condition, absl::Duration limit = kLimit);
  bool closed() const { return closed_; }
  bool DriveUntilClosed() {
    return DriveUntil([this] { return closed_; });
  }

  std::byte* memory() { return arena_->base(); }
  uint64_t memory_bytes() const { return arena_->bytes(); }

 private:
  void OnMessage(Connection& connection, absl::Span<const std::byte> message) override;
  void OnTransferDone(Connection&, uint64_t, const absl::Status&) override {}
  void OnClosed(Connection&, const absl::Status&) override { closed_ = true; }
  void Unexpected(const std::optional<wire::Message>& message) const;

  const RawSession session_;
  std::unique_ptr<HostArena> arena_;
  std::unique_ptr<Worker> worker_;
  std::unique_ptr<Connection> connection_;
  std::deque<std::vector<std::byte>> received_;
  bool closed_ = false;
};

}  // namespace droidspeak
