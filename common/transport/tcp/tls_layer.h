// SPDX-License-Identifier: Apache-2.0
// TLS 1.3 over a non-blocking socket, with a key that both ends know before (RFC 8446, section 2.2): no certificates
// on the data plane, since those of the control plane have been looked at when the key was given out.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/transport/transport.h"

struct bio_st;
struct bio_method_st;
struct evp_md_st;
struct ssl_ctx_st;
struct ssl_session_st;
struct ssl_st;

namespace droidspeak::tcp {

// What all encrypted sockets of a worker and a role share. Not thread-safe.
class TlsContext {
 public:
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<TlsContext>> ForClient();
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<TlsContext>> ForServer(KeyFinder keys);

  ssl_ctx_st* get() const { return context_.get(); }
  bool is_server() const { return keys_ != nullptr; }
  const KeyFinder& keys() const { return keys_; }

 private:
  explicit TlsContext(KeyFinder keys) : keys_(std::move(keys)) {}
  [[nodiscard]] absl::Status Prepare();

  const KeyFinder keys_;
  std::shared_ptr<ssl_ctx_st> context_;
};

// One end of one socket, which it doesn't own. The handshake happens within Write() and Read(): until it is done they
// move nothing. AES-128-GCM; a fresh key exchange for each connection, so that a session's key, once lost, opens
// nothing that was recorded before. Not thread-safe.
class TlsLayer {
 public:
  // `context` outlives the layer. `key` is the client's.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<TlsLayer>> Create(const TlsContext& context, int socket,
                                                                        SharedKey key);
  ~TlsLayer();
  TlsLayer(const TlsLayer&) = delete;
  TlsLayer& operator=(const TlsLayer&) = delete;

  // As WriteSome() and ReadSome(). Bytes that Write() took may change at once. What it could not write, of the queue's
  // front, has to be offered again before anything else.
  [[nodiscard]] absl::StatusOr<size_t> Write(absl::Span<const iovec> pieces);
  [[nodiscard]] absl::StatusOr<size_t> Read(absl::Span<const iovec> pieces);

  // It waits for the socket to take what it has encrypted; else, before the handshake is done, for the peer.
  bool wants_output() const { return out_start_ < out_.size(); }
  bool established() const { return established_; }
  // There are bytes for Read() that the socket does not know of any more.
  bool has_input() const;

  void set_socket(int socket) { socket_ = socket; }

 private:
  TlsLayer(int socket, SharedKey key) : socket_(socket), key_(std::move(key)) {}

  static const bio_method_st* Method();
  static int BioWrite(bio_st* bio, const char* data, int size);
  static int BioRead(bio_st* bio, char* data, int size);
  static long BioControl(bio_st* bio, int command, long number, void* pointer);
  static int UseKey(ssl_st* ssl, const evp_md_st* hash, const unsigned char** name, size_t* name_bytes,
                    ssl_session_st** session);
  friend class TlsContext;

  // The bytes [from, ...) of `pieces`: a run of them in place, or a few small ones together in `record_`.
  absl::Span<const std::byte> NextRun(absl::Span<const iovec> pieces, size_t from);
  [[nodiscard]] absl::Status Flush();
  // After a call of OpenSSL that did not succeed: OK when it is to be tried later.
  [[nodiscard]] absl::Status Outcome(int result);
  [[nodiscard]] absl::Status Handshake();

  int socket_;
  const SharedKey key_;
  std::shared_ptr<ssl_st> ssl_;
  // What the kernel gave, from in_start_ to in_end_ not yet OpenSSL's.
  std::vector<char> in_;
  size_t in_start_ = 0;
  size_t in_end_ = 0;
  std::vector<char> out_;  // encrypted, from out_start_ on not yet the kernel's
  size_t out_start_ = 0;
  std::vector<std::byte> record_;
  uint64_t since_key_update_ = 0;
  bool established_ = false;
  bool starved_ = true;             // the last Read() ended for want of bytes
  bool read_wants_output_ = false;  // it ended because something has to be written first
  absl::Status socket_error_;
};

}  // namespace droidspeak::tcp
