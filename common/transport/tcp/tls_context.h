// SPDX-License-Identifier: Apache-2.0
// What the ends of TLS 1.3 agree on, with a key that both know before (RFC 8446, section 2.2): no certificates on the
// data plane, since those of the control plane have been looked at when the key was given out.
#pragma once

#include <cstdint>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/transport/transport.h"

struct ssl_ctx_st;

namespace droidspeak::tcp {

// How records are made; other than this in tests only.
struct TlsRecords {
  bool by_kernel = true;  // where it can
  // EncryptedBytes() before the key is changed. AES-GCM is good for 2^24.5 full records under one key (RFC 8446,
  // section 5.5), which are 1.4 times as many.
  uint64_t bytes_per_key = uint64_t{256} << 30;
};

// What AES-GCM has to do for so many bytes that are sent at once: two blocks a record more.
constexpr uint64_t EncryptedBytes(uint64_t bytes) {
  constexpr uint64_t kRecordBytes = uint64_t{16} << 10, kBlockBytes = 16;
  return bytes + 2 * kBlockBytes * ((bytes + kRecordBytes - 1) / kRecordBytes);
}

// What all encrypted sockets of a worker and a role share. Not thread-safe.
class TlsContext {
 public:
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<TlsContext>> ForClient(TlsRecords records = {});
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<TlsContext>> ForServer(KeyFinder keys, TlsRecords records = {});

  ssl_ctx_st* get() const { return context_.get(); }
  bool is_server() const { return keys_ != nullptr; }
  const KeyFinder& keys() const { return keys_; }
  const TlsRecords& records() const { return records_; }

 private:
  TlsContext(KeyFinder keys, TlsRecords records) : keys_(std::move(keys)), records_(records) {}
  [[nodiscard]] absl::Status Prepare();

  const KeyFinder keys_;
  const TlsRecords records_;
  std::shared_ptr<ssl_ctx_st> context_;
};

// OpenSSL's latest error, which is forgotten then: UNAVAILABLE, with `what` was being done.
[[nodiscard]] absl::Status OpensslError(absl::string_view what);

}  // namespace droidspeak::tcp
