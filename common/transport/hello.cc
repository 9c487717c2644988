// SPDX-License-Identifier: Apache-2.0
#include "common/transport/hello.h"

#include <openssl/crypto.h>
#include <openssl/rand.h>

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/key/digest.h"
#include "common/transport/wire.h"

namespace droidspeak {
namespace {

constexpr std::string_view kServerLabel = "droidspeak/hello/v1/server";
constexpr std::string_view kClientLabel = "droidspeak/hello/v1/client";

template <size_t n>
std::array<uint8_t, n> RandomBytes() {
  std::array<uint8_t, n> bytes;
  DROIDSPEAK_CHECK(RAND_bytes(bytes.data(), static_cast<int>(n)) == 1);
  return bytes;
}

wire::Mac MacOf(const SessionKey& key, std::string_view label, const wire::ClientHello& hello,
                const wire::Nonce& server_nonce) {
  std::string message(label);
  const auto append = [&message](const void* data, size_t bytes) {
    message.append(static_cast<const char*>(data), bytes);
  };
  append(&hello.session_id, sizeof(hello.session_id));
  append(&hello.connection, sizeof(hello.connection));
  append(hello.nonce.data(), hello.nonce.size());
  append(server_nonce.data(), server_nonce.size());
  return HmacSha256({reinterpret_cast<const char*>(key.data()), key.size()}, message).bytes;
}

bool SameMac(const wire::Mac& a, const wire::Mac& b) {
  return EqualInConstantTime(Digest{a}, Digest{b});
}

// The message, if it is a T of exactly `body_bytes` after the header. Looks at nothing else of any other message.
template <typename T>
absl::StatusOr<T> Expect(absl::Span<const std::byte> message, wire::MessageType type, size_t body_bytes) {
  wire::Header header;
  if (message.size() == sizeof(header) + body_bytes) {
    std::memcpy(&header, message.data(), sizeof(header));
    if (header.magic == wire::kMagic && header.version != wire::kVersion) {
      return absl::InvalidArgumentError(absl::StrCat("hello: the peer speaks version ", header.version,
                                                     " of the data plane, this end ", wire::kVersion));
    }
    if (header.type == static_cast<uint16_t>(type)) {
      auto decoded = wire::Decode(message);
      if (!decoded.ok()) return decoded.status();
      return std::get<T>(*std::move(decoded));
    }
  }
  return absl::InvalidArgumentError(
      absl::StrCat("hello: expected a message of type ", static_cast<int>(type), ", got something else"));
}

}  // namespace

ClientHandshake::ClientHandshake(uint64_t session_id, uint32_t connection, const SessionKey& key)
    : hello_{session_id, connection, RandomBytes<32>()}, key_(key) {}

ClientHandshake::~ClientHandshake() {
  OPENSSL_cleanse(key_.data(), key_.size());
}

std::vector<std::byte> ClientHandshake::Start() const {
  return wire::Encode(hello_);
}

absl::StatusOr<std::vector<std::byte>> ClientHandshake::Next(absl::Span<const std::byte> message) {
  const State state = std::exchange(state_, State::kFailed);
  if (state == State::kAwaitServer) {
    auto server = Expect<wire::ServerHello>(message, wire::MessageType::kServerHello, sizeof(wire::ServerHelloBody));
    if (!server.ok()) return server.status();
    if (!SameMac(server->mac, MacOf(key_, kServerLabel, hello_, server->nonce))) {
      return absl::UnauthenticatedError("hello: the server does not know the session's key");
    }
    state_ = State::kAwaitDone;
    return wire::Encode(wire::ClientProof{MacOf(key_, kClientLabel, hello_, server->nonce)});
  }
  if (state == State::kAwaitDone) {
    auto done = Expect<wire::HelloDone>(message, wire::MessageType::kHelloDone, 0);
    if (!done.ok()) return done.status();
    state_ = State::kDone;
    return std::vector<std::byte>();
  }
  return absl::FailedPreconditionError("hello: it has ended already");
}

ServerHandshake::ServerHandshake(FindKey find_key) : find_key_(std::move(find_key)) {}

ServerHandshake::~ServerHandshake() {
  OPENSSL_cleanse(key_.data(), key_.size());
}

absl::StatusOr<std::vector<std::byte>> ServerHandshake::Next(absl::Span<const std::byte> message) {
  const State state = std::exchange(state_, State::kFailed);
  if (state == State::kAwaitHello) {
    auto hello = Expect<wire::ClientHello>(message, wire::MessageType::kClientHello, sizeof(wire::HelloBody));
    if (!hello.ok()) return hello.status();
    hello_ = *hello;
    absl::StatusOr<SessionKey> key = find_key_(hello_.session_id);
    known_ = key.ok();
    key_ = known_ ? *key : RandomBytes<32>();
    nonce_ = RandomBytes<32>();
    state_ = State::kAwaitProof;
    return wire::Encode(wire::ServerHello{nonce_, MacOf(key_, kServerLabel, hello_, nonce_)});
  }
  if (state == State::kAwaitProof) {
    auto proof = Expect<wire::ClientProof>(message, wire::MessageType::kClientProof, sizeof(wire::ProofBody));
    if (!proof.ok()) return proof.status();
    if (!SameMac(proof->mac, MacOf(key_, kClientLabel, hello_, nonce_)) || !known_) {
      return absl::UnauthenticatedError("hello: the client does not know the key of the session it names");
    }
    state_ = State::kDone;
    return wire::Encode(wire::HelloDone{});
  }
  return absl::FailedPreconditionError("hello: it has ended already");
}

}  // namespace droidspeak
