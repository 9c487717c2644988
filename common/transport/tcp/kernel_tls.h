// SPDX-License-Identifier: Apache-2.0
// TLS 1.3 records that the kernel makes and opens (Linux, CONFIG_TLS), after a handshake in user space: bytes are
// encrypted from their place and decrypted into it, without a copy between.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace droidspeak::tcp {

// What the keys of a connection's application data follow from, 32 bytes each (RFC 8446, section 7.1), with
// TLS_AES_128_GCM_SHA256.
struct TrafficSecrets {
  std::string sent;
  std::string received;
};
// Overwrites them.
void Forget(TrafficSecrets& secrets);

// One socket, which it doesn't own. Not thread-safe.
class KernelTls {
 public:
  // Gives the socket to the kernel: neither end has sent application data that was taken from it, or put into it, here.
  // UNIMPLEMENTED when this kernel can't: the socket is as before. After another error it is of no use. `bytes_per_key`
  // as in TlsRecords.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<KernelTls>> Start(int socket, TrafficSecrets secrets,
                                                                        uint64_t bytes_per_key);
  ~KernelTls();
  KernelTls(const KernelTls&) = delete;
  KernelTls& operator=(const KernelTls&) = delete;

  // As WriteSome() and ReadSome(). UNAVAILABLE, too, when a key has to be changed that this kernel can't change: Linux
  // can from 6.14 on.
  [[nodiscard]] absl::StatusOr<size_t> Write(absl::Span<const iovec> pieces);
  [[nodiscard]] absl::StatusOr<size_t> Read(absl::Span<const iovec> pieces);
  // There may be something for Read() that epoll does not tell of.
  bool has_input() const { return has_input_; }

 private:
  KernelTls(int socket, TrafficSecrets secrets, uint64_t bytes_per_key)
      : socket_(socket), bytes_per_key_(bytes_per_key), secrets_(std::move(secrets)) {}

  // True when the peer has been told, and from now on gets the new key.
  [[nodiscard]] absl::StatusOr<bool> ChangeSentKey();
  // A record came that is no application data, with `bytes` at the beginning of `pieces`.
  [[nodiscard]] absl::Status OnRecord(int type, absl::Span<const iovec> pieces, size_t bytes);
  [[nodiscard]] absl::Status OnKeyUpdate();
  void OnNothing();
  void OnSomething();

  const int socket_;
  const uint64_t bytes_per_key_;
  TrafficSecrets secrets_;
  bool can_change_keys_ = false;
  uint64_t key_bytes_ = 0;   // encrypted with the key of now
  bool change_due_ = false;  // the peer asked for it
  std::string key_update_;   // as much as has come of one
  bool has_input_ = false;
  bool in_vain_ = false;  // the last Read() found nothing
  bool low_water_raised_ = false;
};

}  // namespace droidspeak::tcp
