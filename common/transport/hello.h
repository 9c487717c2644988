// SPDX-License-Identifier: Apache-2.0
// The hello that starts every data-plane connection: each end proves to the other that it knows the session's key.
//
//   client                                    server
//   ClientHello {session, connection, nonce} →
//                                           ← ServerHello {nonce, mac}
//   ClientProof {mac}                       →
//                                           ← HelloDone
//
// mac = HMAC-SHA-256(key, label ‖ u64 session id ‖ u32 connection ‖ client's nonce ‖ server's nonce), with the label
// "droidspeak/hello/v1/server" or "droidspeak/hello/v1/client". Nonces are fresh random bytes, so neither end's proof
// can be replayed; the labels differ, so none can be reflected. Nothing but the expected message, in its exact size,
// is parsed before the hello has passed.
//
// Both classes are state machines without I/O: hand in what arrived, send what comes back. Not thread-safe. After an
// error the connection is to be closed.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/transport/messages.h"

namespace droidspeak {

// From OpenSession's answer.
using SessionKey = std::array<uint8_t, 32>;

class ClientHandshake {
 public:
  ClientHandshake(uint64_t session_id, uint32_t connection, const SessionKey& key);
  ~ClientHandshake();

  // The first message.
  std::vector<std::byte> Start() const;
  // The reply to `message`; empty when the hello is done and nothing is to be sent. INVALID_ARGUMENT for a message that
  // is not the expected one, UNAUTHENTICATED if the server does not know the key.
  [[nodiscard]] absl::StatusOr<std::vector<std::byte>> Next(absl::Span<const std::byte> message);
  bool done() const { return state_ == State::kDone; }

 private:
  enum class State { kAwaitServer, kAwaitDone, kDone, kFailed };

  const wire::ClientHello hello_;
  SessionKey key_;
  State state_ = State::kAwaitServer;
};

class ServerHandshake {
 public:
  // The key of a session, or an error if there is none such. Called at most once, during Next().
  using FindKey = std::function<absl::StatusOr<SessionKey>(uint64_t session_id)>;

  explicit ServerHandshake(FindKey find_key);
  ~ServerHandshake();

  // The reply to `message`. Errors as the client's; an unknown session gets the answer of a known one and fails at its
  // proof, so that ids can't be probed.
  [[nodiscard]] absl::StatusOr<std::vector<std::byte>> Next(absl::Span<const std::byte> message);
  bool done() const { return state_ == State::kDone; }
  // What the client proved to be; valid once done.
  uint64_t session_id() const { return hello_.session_id; }
  uint32_t connection() const { return hello_.connection; }

 private:
  enum class State { kAwaitHello, kAwaitProof, kDone, kFailed };

  FindKey find_key_;
  wire::ClientHello hello_{};
  wire::Nonce nonce_{};
  SessionKey key_{};
  bool known_ = false;
  State state_ = State::kAwaitHello;
};

}  // namespace droidspeak
