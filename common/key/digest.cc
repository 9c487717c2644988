// SPDX-License-Identifier: Apache-2.0
#include "common/key/digest.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <bit>
#include <cstring>
#include <limits>

#include "common/base/check.h"
#include "common/base/hex.h"
#include "common/base/status.h"

namespace droidspeak {
namespace {

static_assert(std::endian::native == std::endian::little, "hashed integers are little-endian");

template <typename Integer>
std::string_view BytesOf(const Integer& value) {
  return {reinterpret_cast<const char*>(&value), sizeof(value)};
}

}  // namespace

absl::StatusOr<Digest> Digest::FromHex(std::string_view hex) {
  if (hex.size() != 2 * sizeof(Digest)) {
    return absl::InvalidArgumentError(absl::StrCat("a digest has 64 hexadecimal digits, not ", hex.size()));
  }
  ASSIGN_OR_RETURN(const std::string bytes, droidspeak::FromHex(hex));
  Digest digest;
  std::memcpy(digest.bytes.data(), bytes.data(), digest.bytes.size());
  return digest;
}

std::string Digest::Hex() const {
  return ToHex(view());
}

void Sha256::Free::operator()(evp_md_ctx_st* context) const {
  EVP_MD_CTX_free(context);
}

Sha256::Sha256() : context_(EVP_MD_CTX_new()) {
  DROIDSPEAK_CHECK(context_ != nullptr);
  DROIDSPEAK_CHECK(EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) == 1);
}

Sha256::~Sha256() = default;

Sha256& Sha256::Update(std::string_view bytes) {
  DROIDSPEAK_CHECK(EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size()) == 1);
  return *this;
}

Sha256& Sha256::Update(absl::Span<const std::byte> bytes) {
  return Update(std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
}

Sha256& Sha256::UpdateU32(uint32_t value) {
  return Update(BytesOf(value));
}

Sha256& Sha256::UpdateU64(uint64_t value) {
  return Update(BytesOf(value));
}

Sha256& Sha256::UpdateLengthPrefixed(std::string_view bytes) {
  DROIDSPEAK_CHECK(bytes.size() <= std::numeric_limits<uint32_t>::max());
  return UpdateU32(static_cast<uint32_t>(bytes.size())).Update(bytes);
}

Digest Sha256::Finish() {
  Digest digest;
  DROIDSPEAK_CHECK(EVP_DigestFinal_ex(context_.get(), digest.bytes.data(), nullptr) == 1);
  DROIDSPEAK_CHECK(EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) == 1);
  return digest;
}

Digest Sha256Of(std::string_view bytes) {
  return Sha256().Update(bytes).Finish();
}

Digest HmacSha256(std::string_view key, std::string_view message) {
  DROIDSPEAK_CHECK(key.size() <= static_cast<size_t>(std::numeric_limits<int>::max()));
  Digest digest;
  const auto* text = reinterpret_cast<const unsigned char*>(message.data());
  DROIDSPEAK_CHECK(HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()), text, message.size(),
                        digest.bytes.data(), nullptr) != nullptr);
  return digest;
}

bool EqualInConstantTime(const Digest& a, const Digest& b) {
  return CRYPTO_memcmp(a.bytes.data(), b.bytes.data(), a.bytes.size()) == 0;
}

}  // namespace droidspeak
