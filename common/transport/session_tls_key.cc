// SPDX-License-Identifier: Apache-2.0
#include "common/transport/session_tls_key.h"

#include <charconv>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/key/digest.h"

namespace droidspeak {
namespace {

constexpr size_t kNameBytes = 16;

}  // namespace

SharedKey TlsKeyOf(uint64_t session_id, const SessionKey& key) {
  const Digest derived = HmacSha256({reinterpret_cast<const char*>(key.data()), key.size()}, "droidspeak/data-tls/v1");
  return {absl::StrCat(absl::Hex(session_id, absl::kZeroPad16)), std::string(derived.view())};
}

std::optional<uint64_t> SessionOfTlsKey(std::string_view name) {
  uint64_t id = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), id, 16);
  if (name.size() != kNameBytes || error != std::errc() || end != name.data() + name.size()) return std::nullopt;
  return id;
}

}  // namespace droidspeak
