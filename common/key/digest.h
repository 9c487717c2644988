// SPDX-License-Identifier: Apache-2.0
// SHA-256 digests: the names of models, namespaces and blocks. Never truncated.
#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/types/span.h"

struct evp_md_ctx_st;

namespace droidspeak {

// 32 raw bytes. A plain value; usable as key of absl and ordered containers.
struct Digest {
  std::array<uint8_t, 32> bytes{};

  // Reads exactly 64 hexadecimal digits of either case.
  [[nodiscard]] static absl::StatusOr<Digest> FromHex(std::string_view hex);
  // 64 lower-case hexadecimal digits.
  std::string Hex() const;
  // The bytes as they stand in keys and hashes.
  std::string_view view() const { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }

  friend bool operator==(const Digest&, const Digest&) = default;
  friend auto operator<=>(const Digest&, const Digest&) = default;
  template <typename H>
  friend H AbslHashValue(H state, const Digest& digest) {
    return H::combine_contiguous(std::move(state), digest.bytes.data(), digest.bytes.size());
  }
};
static_assert(sizeof(Digest) == 32);

// Incremental SHA-256. Not thread-safe. After Finish() it is ready for the next message.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(Sha256&&) noexcept = default;
  Sha256& operator=(Sha256&&) noexcept = default;

  Sha256& Update(std::string_view bytes);
  Sha256& Update(absl::Span<const std::byte> bytes);
  // Little-endian.
  Sha256& UpdateU32(uint32_t value);
  Sha256& UpdateU64(uint64_t value);
  // lp(x): the length as u32, then the bytes.
  Sha256& UpdateLengthPrefixed(std::string_view bytes);

  Digest Finish();

 private:
  struct Free {
    void operator()(evp_md_ctx_st* context) const;
  };
  std::unique_ptr<evp_md_ctx_st, Free> context_;
};

// SHA-256 of `bytes`.
Digest Sha256Of(std::string_view bytes);

// HMAC-SHA-256 (RFC 2104).
Digest HmacSha256(std::string_view key, std::string_view message);

// Compares without a data-dependent branch: for authentication codes.
bool EqualInConstantTime(const Digest& a, const Digest& b);

}  // namespace droidspeak
