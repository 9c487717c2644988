// SPDX-License-Identifier: Apache-2.0
#include "common/key/block_hash.h"

#include <string>

#include "common/base/check.h"

namespace droidspeak {
namespace {

void UpdateWithBlock(Sha256& sha, const Digest& previous, absl::Span<const uint32_t> tokens, std::string_view extra) {
  sha.Update("droidspeak/block/v1")
      .Update(previous.view())
      .UpdateU32(static_cast<uint32_t>(tokens.size()))
      .Update(std::string_view(reinterpret_cast<const char*>(tokens.data()), tokens.size() * sizeof(uint32_t)))
      .UpdateLengthPrefixed(extra);
}

}  // namespace

Digest Salt(std::string_view cluster_secret, std::string_view tenant) {
  const auto length = static_cast<uint32_t>(tenant.size());
  std::string message = "droidspeak/salt/v1";
  message.append(reinterpret_cast<const char*>(&length), sizeof(length));
  message.append(tenant);
  return HmacSha256(cluster_secret, message);
}

Digest Namespace(const Digest& salt, const Digest& weights, const std::optional<Digest>& adapter,
                 std::string_view layout) {
  return Sha256()
      .Update("droidspeak/namespace/v1")
      .UpdateLengthPrefixed(salt.view())
      .UpdateLengthPrefixed(weights.view())
      .UpdateLengthPrefixed(adapter ? adapter->view() : std::string_view())
      .UpdateLengthPrefixed(layout)
      .Finish();
}

Digest BlockHash(const Digest& previous, absl::Span<const uint32_t> tokens, std::string_view extra) {
  Sha256 sha;
  UpdateWithBlock(sha, previous, tokens, extra);
  return sha.Finish();
}

std::vector<Digest> BlockHashes(const Digest& previous, absl::Span<const uint32_t> tokens, uint32_t block_tokens) {
  DROIDSPEAK_CHECK(block_tokens > 0);
  std::vector<Digest> hashes;
  hashes.reserve(tokens.size() / block_tokens);
  Sha256 sha;
  for (size_t start = 0; start + block_tokens <= tokens.size(); start += block_tokens) {
    UpdateWithBlock(sha, hashes.empty() ? previous : hashes.back(), tokens.subspan(start, block_tokens), {});
    hashes.push_back(sha.Finish());
  }
  return hashes;
}

}  // namespace droidspeak
