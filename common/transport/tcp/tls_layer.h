// SPDX-License-Identifier: Apache-2.0
// TLS 1.3 over a non-blocking socket, with a key that both ends know before.
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
#include "common/transport/tcp/kernel_tls.h"
#include "common/transport/tcp/tls_context.h"
#include "common/transport/transport.h"

struct bio_st;
struct bio_method_st;
struct ssl_st;

namespace droidspeak::tcp {

// One end of one socket, which it doesn't own. The handshake happens within Write() and Read(): until it is done they
// move nothing. AES-128-GCM; a fresh key exchange for each connection, so that a session's key, once lost, opens
// nothing that was recorded before. After it the kernel makes and opens the records, else OpenSSL does, and this layer
// gathers what goes to the socket and comes from it. Not thread-safe.
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
  bool by_kernel() const { return kernel_ != nullptr; }
  // There may be bytes for Read() that epoll does not tell of.
  bool has_input() const;

  void set_socket(int socket) { socket_ = socket; }

  // For the context, amid the handshake: the client's key, and where what follows from it goes.
  const SharedKey& key() const { return key_; }
  TrafficSecrets& secrets() { return secrets_; }

 private:
  TlsLayer(const TlsContext& context, int socket, SharedKey key)
      : context_(context), socket_(socket), key_(std::move(key)) {}

  static const bio_method_st* Method();
  static int BioWrite(bio_st* bio, const char* data, int size);
  static int BioRead(bio_st* bio, char* data, int size);
  static long BioControl(bio_st* bio, int command, long number, void* pointer);

  // The bytes [from, ...) of `pieces`: a run of them in place, or a few small ones together in `record_`.
  absl::Span<const std::byte> NextRun(absl::Span<const iovec> pieces, size_t from);
  [[nodiscard]] absl::Status Flush();
  // After a call of OpenSSL that did not succeed: OK when it is to be tried later.
  [[nodiscard]] absl::Status Outcome(int result);
  // Up to `bytes` of the socket's, put at `place`: how many, or -1 as a BIO says it.
  int Receive(bio_st* bio, char* place, size_t bytes);
  // The handshake, and what follows from it.
  [[nodiscard]] absl::Status Establish();
  [[nodiscard]] absl::Status Handshake();
  [[nodiscard]] absl::Status GiveToKernel();

  const TlsContext& context_;
  int socket_;
  const SharedKey key_;
  TrafficSecrets secrets_;  // until the kernel has them
  std::unique_ptr<KernelTls> kernel_;

  // Null once the kernel has taken over, as all below is empty.
  std::shared_ptr<ssl_st> ssl_;
  // What the kernel gave, from in_start_ to in_end_ not yet OpenSSL's.
  std::vector<char> in_;
  size_t in_start_ = 0;
  size_t in_end_ = 0;
  std::vector<char> out_;  // encrypted, from out_start_ on not yet the kernel's
  size_t out_start_ = 0;
  std::vector<std::byte> record_;
  uint64_t key_bytes_ = 0;  // encrypted with the key of now
  bool shaken_ = false;
  bool established_ = false;
  bool starved_ = true;             // the last Read() ended for want of bytes
  bool read_wants_output_ = false;  // it ended because something has to be written first
  absl::Status socket_error_;
};

}  // namespace droidspeak::tcp
