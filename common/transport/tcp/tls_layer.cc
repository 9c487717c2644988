// SPDX-License-Identifier: Apache-2.0
#include "common/transport/tcp/tls_layer.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/socket.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/log.h"
#include "common/base/status.h"
#include "common/transport/tcp/socket.h"

namespace droidspeak::tcp {
namespace {

// Encrypted records are gathered to so much for one call of the kernel.
constexpr size_t kOutBytes = size_t{256} << 10;
// Read at a time, here: OpenSSL, told to read ahead, moves all that is left in its buffer for each record.
constexpr size_t kInBytes = size_t{256} << 10;
constexpr size_t kRecordBytes = size_t{16} << 10;
// Smaller runs of bytes share a record with what follows them.
constexpr size_t kSmallBytes = size_t{4} << 10;

// Once a process: operators want to know, and it is the same for all connections.
void SayOnce(absl::string_view who) {
  static std::atomic<bool> said = false;
  if (!said.exchange(true)) spdlog::info("tcp: TLS records are made by {}", std::string(who));
}

}  // namespace

absl::StatusOr<std::unique_ptr<TlsLayer>> TlsLayer::Create(const TlsContext& context, int socket, SharedKey key) {
  std::unique_ptr<TlsLayer> layer(new TlsLayer(context, socket, std::move(key)));
  layer->ssl_.reset(SSL_new(context.get()), SSL_free);
  BIO* const bio = BIO_new(Method());
  if (layer->ssl_ == nullptr || bio == nullptr) return OpensslError("preparing TLS");
  BIO_set_data(bio, layer.get());
  BIO_set_init(bio, 1);
  SSL_set_bio(layer->ssl_.get(), bio, bio);
  SSL_set_app_data(layer->ssl_.get(), layer.get());
  context.is_server() ? SSL_set_accept_state(layer->ssl_.get()) : SSL_set_connect_state(layer->ssl_.get());
  return layer;
}

TlsLayer::~TlsLayer() {
  Forget(secrets_);
}

const BIO_METHOD* TlsLayer::Method() {
  // One for the process, never freed.
  static const BIO_METHOD* const method = [] {
    BIO_METHOD* const made = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "droidspeak socket");
    BIO_meth_set_write(made, BioWrite);
    BIO_meth_set_read(made, BioRead);
    BIO_meth_set_ctrl(made, BioControl);
    return made;
  }();
  return method;
}

int TlsLayer::BioWrite(BIO* bio, const char* data, int size) {
  auto* const layer = static_cast<TlsLayer*>(BIO_get_data(bio));
  BIO_clear_retry_flags(bio);
  if (layer->out_.size() + size > kOutBytes) {
    if (absl::Status flushed = layer->Flush(); !flushed.ok()) {
      layer->socket_error_ = std::move(flushed);
      return -1;
    }
    if (layer->wants_output()) {
      BIO_set_retry_write(bio);
      return -1;
    }
  }
  layer->out_.insert(layer->out_.end(), data, data + size);
  return size;
}

int TlsLayer::BioRead(BIO* bio, char* data, int size) {
  auto* const layer = static_cast<TlsLayer*>(BIO_get_data(bio));
  BIO_clear_retry_flags(bio);
  // What follows the handshake may be for the kernel.
  if (!layer->established_) return layer->Receive(bio, data, static_cast<size_t>(size));
  if (layer->in_start_ == layer->in_end_) {
    layer->in_.resize(kInBytes);
    const int got = layer->Receive(bio, layer->in_.data(), layer->in_.size());
    if (got < 0) return got;
    layer->in_start_ = 0;
    layer->in_end_ = static_cast<size_t>(got);
  }
  const size_t given = std::min(static_cast<size_t>(size), layer->in_end_ - layer->in_start_);
  std::memcpy(data, layer->in_.data() + layer->in_start_, given);
  layer->in_start_ += given;
  return static_cast<int>(given);
}

int TlsLayer::Receive(BIO* bio, char* place, size_t bytes) {
  ssize_t got;
  while ((got = ::recv(socket_, place, bytes, MSG_DONTWAIT)) < 0 && errno == EINTR) {
  }
  if (got > 0) return static_cast<int>(got);
  if (got < 0 && IsBusy(errno)) {
    BIO_set_retry_read(bio);
  } else {
    socket_error_ = absl::UnavailableError(got == 0 ? "the peer closed the connection"
                                                    : absl::StrCat("receiving: ", strerror(errno)));
  }
  return -1;
}

long TlsLayer::BioControl(BIO* bio, int command, long, void*) {
  auto* const layer = static_cast<TlsLayer*>(BIO_get_data(bio));
  if (command == BIO_CTRL_FLUSH) {  // the end of a flight of the handshake; what stays is sent when the socket takes it
    if (absl::Status flushed = layer->Flush(); !flushed.ok()) layer->socket_error_ = std::move(flushed);
    return 1;
  }
  return 0;
}

absl::Status TlsLayer::Flush() {
  while (wants_output()) {
    const iovec rest{out_.data() + out_start_, out_.size() - out_start_};
    ASSIGN_OR_RETURN(const size_t sent, WriteSome(socket_, {&rest, 1}));
    if (sent == 0) return absl::OkStatus();
    out_start_ += sent;
  }
  out_.clear();
  out_start_ = 0;
  if (std::exchange(read_wants_output_, false)) starved_ = false;
  return absl::OkStatus();
}

absl::Status TlsLayer::Outcome(int result) {
  if (!socket_error_.ok()) {
    ERR_clear_error();
    return socket_error_;
  }
  const int error = SSL_get_error(ssl_.get(), result);
  if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) return absl::OkStatus();
  if (error == SSL_ERROR_ZERO_RETURN) return absl::UnavailableError("the peer closed the connection");
  return OpensslError(established_ ? "TLS" : "the TLS handshake: the ends have no key in common, or one speaks no TLS");
}

absl::Status TlsLayer::Establish() {
  if (!shaken_) RETURN_IF_ERROR(Handshake());
  if (!shaken_) return absl::OkStatus();
  RETURN_IF_ERROR(Flush());
  if (wants_output()) return absl::OkStatus();
  if (context_.records().by_kernel) RETURN_IF_ERROR(GiveToKernel());
  established_ = true;
  return absl::OkStatus();
}

absl::Status TlsLayer::Handshake() {
  ERR_clear_error();
  const int result = SSL_do_handshake(ssl_.get());
  if (result != 1) return Outcome(result);
  if (SSL_session_reused(ssl_.get()) != 1)
    return absl::UnavailableError("the TLS handshake used another key than ours");
  shaken_ = true;
  return absl::OkStatus();
}

absl::Status TlsLayer::GiveToKernel() {
  absl::StatusOr<std::unique_ptr<KernelTls>> kernel =
      KernelTls::Start(socket_, secrets_, context_.records().bytes_per_key);
  Forget(secrets_);
  if (absl::IsUnimplemented(kernel.status())) {
    SayOnce(absl::StrCat("OpenSSL: ", kernel.status().message()));
    return absl::OkStatus();
  }
  if (!kernel.ok()) return kernel.status();
  SayOnce("the kernel");
  kernel_ = *std::move(kernel);
  ssl_.reset();
  out_ = {};
  return absl::OkStatus();
}

absl::Span<const std::byte> TlsLayer::NextRun(absl::Span<const iovec> pieces, size_t from) {
  size_t first = 0;
  while (from >= pieces[first].iov_len) from -= pieces[first++].iov_len;
  const auto run = [&](size_t piece, size_t skip) {
    return absl::MakeConstSpan(static_cast<const std::byte*>(pieces[piece].iov_base) + skip,
                               pieces[piece].iov_len - skip);
  };
  const absl::Span<const std::byte> alone = run(first, from);
  if (alone.size() >= kSmallBytes || first + 1 == pieces.size()) return alone;
  record_.clear();
  for (; first < pieces.size() && record_.size() < kRecordBytes; ++first, from = 0) {
    const absl::Span<const std::byte> more = run(first, from).subspan(0, kRecordBytes - record_.size());
    record_.insert(record_.end(), more.begin(), more.end());
  }
  return record_;
}

absl::StatusOr<size_t> TlsLayer::Write(absl::Span<const iovec> pieces) {
  if (!established_) RETURN_IF_ERROR(Establish());
  if (kernel_ != nullptr) return kernel_->Write(pieces);
  size_t total = 0;
  for (const iovec& piece : pieces) total += piece.iov_len;
  size_t done = 0;
  while (established_ && done < total) {
    const absl::Span<const std::byte> run = NextRun(pieces, done);
    size_t written = 0;
    ERR_clear_error();
    if (const int result = SSL_write_ex(ssl_.get(), run.data(), run.size(), &written); result != 1) {
      RETURN_IF_ERROR(Outcome(result));
      break;
    }
    done += written;
    key_bytes_ += EncryptedBytes(written);
    if (key_bytes_ < context_.records().bytes_per_key) continue;
    key_bytes_ = 0;
    if (SSL_key_update(ssl_.get(), SSL_KEY_UPDATE_NOT_REQUESTED) != 1) return OpensslError("changing TLS's key");
  }
  RETURN_IF_ERROR(Flush());
  return done;
}

absl::StatusOr<size_t> TlsLayer::Read(absl::Span<const iovec> pieces) {
  if (!established_) RETURN_IF_ERROR(Establish());
  if (kernel_ != nullptr) return kernel_->Read(pieces);
  size_t done = 0;
  starved_ = !established_;
  for (const iovec& piece : pieces) {
    for (size_t at = 0; at < piece.iov_len && !starved_;) {
      size_t got = 0;
      ERR_clear_error();
      const int result =
          SSL_read_ex(ssl_.get(), static_cast<std::byte*>(piece.iov_base) + at, piece.iov_len - at, &got);
      if (result != 1) {
        starved_ = true;
        read_wants_output_ = SSL_want_write(ssl_.get());
        // What came before the end is delivered first; the end is met again.
        if (absl::Status ended = Outcome(result); !ended.ok() && done == 0) return ended;
        break;
      }
      at += got;
      done += got;
    }
  }
  return done;
}

bool TlsLayer::has_input() const {
  if (kernel_ != nullptr) return kernel_->has_input();
  return !starved_ && (in_start_ < in_end_ || SSL_has_pending(ssl_.get()) == 1);
}

}  // namespace droidspeak::tcp
