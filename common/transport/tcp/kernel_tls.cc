// SPDX-License-Identifier: Apache-2.0
#include "common/transport/tcp/kernel_tls.h"

#include <errno.h>
#include <linux/sockios.h>
#include <linux/tls.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/status.h"
#include "common/transport/tcp/socket.h"
#include "common/transport/tcp/tls_context.h"

namespace droidspeak::tcp {
namespace {

constexpr unsigned char kAlert = 21, kHandshake = 22, kApplicationData = 23;  // RFC 8446, section 5.1
// A KeyUpdate (section 4.6.3) but for its last byte, which says whether the peer is to change its key as well.
constexpr std::string_view kKeyUpdate("\x18\0\0\1", 4);
constexpr int kCloseNotify = 0;

template <typename Bytes>
OSSL_PARAM Octets(const char* name, const Bytes& bytes) {
  return OSSL_PARAM_construct_octet_string(name, const_cast<char*>(bytes.data()), bytes.size());
}

// HKDF-Expand-Label(secret, label, "", size of `out`), RFC 8446, section 7.1.
template <size_t n>
void Expand(const std::string& secret, std::string_view label, std::array<unsigned char, n>& out) {
  static EVP_KDF* const kdf = EVP_KDF_fetch(nullptr, OSSL_KDF_NAME_TLS1_3_KDF, nullptr);  // for the process
  static constexpr std::string_view kPrefix = "tls13 ";
  int mode = EVP_KDF_HKDF_MODE_EXPAND_ONLY;
  char digest[] = "SHA256";
  const OSSL_PARAM parameters[] = {OSSL_PARAM_construct_int(OSSL_KDF_PARAM_MODE, &mode),
                                   OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest, 0),
                                   Octets(OSSL_KDF_PARAM_KEY, secret),
                                   Octets(OSSL_KDF_PARAM_PREFIX, kPrefix),
                                   Octets(OSSL_KDF_PARAM_LABEL, label),
                                   OSSL_PARAM_construct_end()};
  const std::unique_ptr<EVP_KDF_CTX, decltype(&EVP_KDF_CTX_free)> context(EVP_KDF_CTX_new(kdf), EVP_KDF_CTX_free);
  DROIDSPEAK_CHECK(context != nullptr && EVP_KDF_derive(context.get(), out.data(), n, parameters) == 1);
}

// The kernel's key for TLS_TX or TLS_RX, from its first record on. 0, or what errno says.
int SetKey(int socket, int direction, const std::string& secret) {
  std::array<unsigned char, TLS_CIPHER_AES_GCM_128_KEY_SIZE> key;
  std::array<unsigned char, TLS_CIPHER_AES_GCM_128_SALT_SIZE + TLS_CIPHER_AES_GCM_128_IV_SIZE> nonce;
  Expand(secret, "key", key);
  Expand(secret, "iv", nonce);
  tls12_crypto_info_aes_gcm_128 info{};  // of TLS 1.3 as well
  info.info.version = TLS_1_3_VERSION;
  info.info.cipher_type = TLS_CIPHER_AES_GCM_128;
  std::memcpy(info.key, key.data(), sizeof(info.key));
  std::memcpy(info.salt, nonce.data(), sizeof(info.salt));
  std::memcpy(info.iv, nonce.data() + sizeof(info.salt), sizeof(info.iv));
  const int error = ::setsockopt(socket, SOL_TLS, direction, &info, sizeof(info)) == 0 ? 0 : errno;
  OPENSSL_cleanse(&info, sizeof(info));
  OPENSSL_cleanse(key.data(), key.size());
  return error;
}

// The secret after `secret`, in its place (section 7.2).
void Advance(std::string& secret) {
  std::array<unsigned char, 32> next;
  Expand(secret, "traffic upd", next);
  std::memcpy(secret.data(), next.data(), next.size());
  OPENSSL_cleanse(next.data(), next.size());
}

absl::Status CannotChangeKeys(absl::string_view why) {
  return absl::UnavailableError(absl::StrCat(why, ", and this kernel can't change keys (Linux 6.14 can)"));
}

// What the kernel says that the record was.
int RecordType(msghdr& message) {
  for (cmsghdr* part = CMSG_FIRSTHDR(&message); part != nullptr; part = CMSG_NXTHDR(&message, part)) {
    if (part->cmsg_level == SOL_TLS && part->cmsg_type == TLS_GET_RECORD_TYPE) return *CMSG_DATA(part);
  }
  return kApplicationData;
}

}  // namespace

void Forget(TrafficSecrets& secrets) {
  for (std::string* const secret : {&secrets.sent, &secrets.received}) OPENSSL_cleanse(secret->data(), secret->size());
}

absl::StatusOr<std::unique_ptr<KernelTls>> KernelTls::Start(int socket, TrafficSecrets secrets,
                                                            uint64_t bytes_per_key) {
  std::unique_ptr<KernelTls> tls(new KernelTls(socket, std::move(secrets), bytes_per_key));
  if (::setsockopt(socket, IPPROTO_TCP, TCP_ULP, "tls", sizeof("tls")) != 0) {
    if (errno == ENOTCONN) return absl::UnavailableError("the peer closed the connection");
    return absl::UnimplementedError(errno == ENOENT
                                        ? "this kernel has no TLS, or its module isn't loaded (modprobe tls)"
                                        : absl::StrCat("the kernel's TLS: ", strerror(errno)));
  }
  if (const int error = SetKey(socket, TLS_TX, tls->secrets_.sent); error != 0) {
    return absl::UnimplementedError(absl::StrCat("the kernel's TLS has no AES-128-GCM for TLS 1.3: ", strerror(error)));
  }
  if (const int error = SetKey(socket, TLS_RX, tls->secrets_.received); error != 0) {
    return absl::UnavailableError(absl::StrCat("the kernel's TLS can send, but not receive: ", strerror(error)));
  }
  // Nothing has been sent: the same key once more changes nothing, where that can be done.
  tls->can_change_keys_ = SetKey(socket, TLS_TX, tls->secrets_.sent) == 0;
  // Decrypts into its place without a look at the record's type first. Older kernels don't have it, and are slower.
  const int no_padding = 1;
  ::setsockopt(socket, SOL_TLS, TLS_RX_EXPECT_NO_PAD, &no_padding, sizeof(no_padding));
  return tls;
}

KernelTls::~KernelTls() {
  Forget(secrets_);
}

absl::StatusOr<size_t> KernelTls::Write(absl::Span<const iovec> pieces) {
  if (pieces.empty()) return size_t{0};
  if (key_bytes_ >= bytes_per_key_ || change_due_) {
    ASSIGN_OR_RETURN(const bool changed, ChangeSentKey());
    if (!changed) return size_t{0};
  }
  ASSIGN_OR_RETURN(const size_t sent, WriteSome(socket_, pieces));
  key_bytes_ += EncryptedBytes(sent);
  return sent;
}

absl::StatusOr<bool> KernelTls::ChangeSentKey() {
  if (!can_change_keys_) {
    return CannotChangeKeys(absl::StrCat("the connection has encrypted ", key_bytes_, " bytes with one key"));
  }
  std::array<char, kKeyUpdate.size() + 1> update{};  // the last byte: the peer's key may stay
  std::memcpy(update.data(), kKeyUpdate.data(), kKeyUpdate.size());
  iovec piece{update.data(), update.size()};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(kHandshake))> control{};
  msghdr message{};
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  cmsghdr* const part = CMSG_FIRSTHDR(&message);
  part->cmsg_level = SOL_TLS;
  part->cmsg_type = TLS_SET_RECORD_TYPE;
  part->cmsg_len = CMSG_LEN(sizeof(kHandshake));
  *CMSG_DATA(part) = kHandshake;
  const ssize_t sent = ::sendmsg(socket_, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
  if (sent < 0 && (IsBusy(errno) || errno == EINTR)) return false;
  if (sent != static_cast<ssize_t>(update.size())) {
    return absl::UnavailableError(absl::StrCat("sending a change of the key: ", strerror(errno)));
  }
  Advance(secrets_.sent);
  if (const int error = SetKey(socket_, TLS_TX, secrets_.sent); error != 0) {
    return absl::UnavailableError(absl::StrCat("changing the kernel's key: ", strerror(error)));
  }
  key_bytes_ = 0;
  change_due_ = false;
  return true;
}

absl::StatusOr<size_t> KernelTls::Read(absl::Span<const iovec> pieces) {
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(kHandshake))> control;
  msghdr message{};
  message.msg_iov = const_cast<iovec*>(pieces.data());
  message.msg_iovlen = pieces.size();
  while (true) {
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    const ssize_t got = ::recvmsg(socket_, &message, MSG_DONTWAIT);
    if (got > 0) {
      OnSomething();
      const int type = RecordType(message);
      if (type == kApplicationData) return static_cast<size_t>(got);
      RETURN_IF_ERROR(OnRecord(type, pieces, static_cast<size_t>(got)));
      return size_t{0};
    }
    if (got == 0) return absl::UnavailableError("the peer closed the connection");
    if (IsBusy(errno)) {
      OnNothing();
      return size_t{0};
    }
    if (errno != EINTR) return absl::UnavailableError(absl::StrCat("receiving: ", strerror(errno)));
  }
}

// Linux 6.0 to 6.4 tell of a part of a record, for as long as the rest has not come: who took that for something to
// read would not sleep any more. So the socket becomes readable with one byte more.
void KernelTls::OnNothing() {
  has_input_ = false;
  int waiting = 0;
  if (!std::exchange(in_vain_, true) || ::ioctl(socket_, SIOCINQ, &waiting) != 0 || waiting <= 0) return;
  SetLowWater(socket_, static_cast<size_t>(waiting) + 1);
  low_water_raised_ = true;
}

// Kernels that can change keys don't tell of a change that they have met, nor of what follows it.
void KernelTls::OnSomething() {
  has_input_ = can_change_keys_;
  in_vain_ = false;
  if (std::exchange(low_water_raised_, false)) SetLowWater(socket_, 1);
}

absl::Status KernelTls::OnRecord(int type, absl::Span<const iovec> pieces, size_t bytes) {
  std::string record;
  for (const iovec& piece : pieces) {
    record.append(static_cast<const char*>(piece.iov_base), std::min(piece.iov_len, bytes - record.size()));
  }
  if (type == kAlert) {
    const int description = record.size() < 2 ? -1 : static_cast<unsigned char>(record[1]);
    return absl::UnavailableError(description == kCloseNotify ? "the peer closed the connection"
                                                              : absl::StrCat("the peer's TLS alert ", description));
  }
  key_update_ += record;
  if (type != kHandshake || key_update_.size() > kKeyUpdate.size() + 1) {
    return absl::UnavailableError(absl::StrCat("a TLS record of type ", type, " that nobody may send here"));
  }
  return key_update_.size() == kKeyUpdate.size() + 1 ? OnKeyUpdate() : absl::OkStatus();
}

absl::Status KernelTls::OnKeyUpdate() {
  const std::string update = std::exchange(key_update_, {});
  if (!std::string_view(update).starts_with(kKeyUpdate)) {
    return absl::UnavailableError("a message of the TLS handshake after it");
  }
  if (!can_change_keys_) return CannotChangeKeys("the peer changes its TLS key");
  Advance(secrets_.received);
  if (const int error = SetKey(socket_, TLS_RX, secrets_.received); error != 0) {
    return absl::UnavailableError(absl::StrCat("changing the kernel's key: ", strerror(error)));
  }
  if (update.back() != 0) change_due_ = true;
  return absl::OkStatus();
}

}  // namespace droidspeak::tcp
