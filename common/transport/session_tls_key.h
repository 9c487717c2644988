// SPDX-License-Identifier: Apache-2.0
// The TLS key of a session's data-plane connections.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "common/transport/hello.h"
#include "common/transport/transport.h"

namespace droidspeak {

// name = the session's id, 16 hexadecimal digits; key = HMAC-SHA-256(session key, "droidspeak/data-tls/v1"), so that
// TLS and the hello never use the same bytes as a key.
SharedKey TlsKeyOf(uint64_t session_id, const SessionKey& key);

// The session that a key's name stands for; nothing for what is no such name.
std::optional<uint64_t> SessionOfTlsKey(std::string_view name);

}  // namespace droidspeak
