// SPDX-License-Identifier: Apache-2.0
// libFuzzer target: whatever decodes must encode to the same bytes. Also hands the bytes to both ends of the hello.
#include <cstddef>
#include <cstdint>

#include "common/base/check.h"
#include "common/transport/hello.h"
#include "common/transport/messages.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace droidspeak;
  const absl::Span<const std::byte> bytes(reinterpret_cast<const std::byte*>(data), size);
  const auto message = wire::Decode(bytes);
  if (message.ok()) DROIDSPEAK_CHECK(absl::Span<const std::byte>(wire::Encode(*message)) == bytes);
  ServerHandshake server([](uint64_t) -> absl::StatusOr<SessionKey> { return SessionKey{}; });
  (void)server.Next(bytes);
  ClientHandshake client(1, 2, SessionKey{});
  (void)client.Next(bytes);
  return 0;
}
