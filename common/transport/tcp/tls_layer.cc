// SPDX-License-Identifier: Apache-2.0
#include "common/transport/tcp/tls_layer.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
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
// AES-GCM is good for some 2^24.5 records under one key (RFC 8446, section 5.5).
constexpr uint64_t kKeyUpdateBytes = uint64_t{64} << 30;

absl::Status OpensslError(absl::string_view what) {
  char text[256] = "no reason given";
  if (const unsigned long error = ERR_peek_last_error(); error != 0) ERR_error_string_n(error, text, sizeof(text));
  ERR_clear_error();
  return absl::UnavailableError(absl::StrCat(what, ": ", text));
}

// A session that OpenSSL takes for an earlier one, made of a key.
SSL_SESSION* SessionOf(SSL* ssl, const std::string& key) {
  const unsigned char suite[2] = {0x13, 0x01};  // TLS_AES_128_GCM_SHA256
  const SSL_CIPHER* const cipher = SSL_CIPHER_find(ssl, suite);
  SSL_SESSION* const session = SSL_SESSION_new();
  if (session != nullptr && cipher != nullptr &&
      SSL_SESSION_set1_master_key(session, reinterpret_cast<const unsigned char*>(key.data()), key.size()) == 1 &&
      SSL_SESSION_set_cipher(session, cipher) == 1 && SSL_SESSION_set_protocol_version(session, TLS1_3_VERSION) == 1) {
    return session;
  }
  SSL_SESSION_free(session);
  return nullptr;
}

int FindKey(SSL* ssl, const unsigned char* name, size_t name_bytes, SSL_SESSION** session) {
  const auto* const context = static_cast<const TlsContext*>(SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl)));
  const std::optional<std::string> key =
      context->keys()(std::string_view(reinterpret_cast<const char*>(name), name_bytes));
  *session = key.has_value() ? SessionOf(ssl, *key) : nullptr;  // null: without a certificate the handshake fails
  return 1;
}

bool IsBusy(int error) {
  return error == EAGAIN || error == EWOULDBLOCK;
}

}  // namespace

absl::StatusOr<std::unique_ptr<TlsContext>> TlsContext::ForClient() {
  std::unique_ptr<TlsContext> context(new TlsContext(nullptr));
  RETURN_IF_ERROR(context->Prepare());
  return context;
}

absl::StatusOr<std::unique_ptr<TlsContext>> TlsContext::ForServer(KeyFinder keys) {
  std::unique_ptr<TlsContext> context(new TlsContext(std::move(keys)));
  RETURN_IF_ERROR(context->Prepare());
  return context;
}

absl::Status TlsContext::Prepare() {
  context_.reset(SSL_CTX_new(is_server() ? TLS_server_method() : TLS_client_method()), SSL_CTX_free);
  SSL_CTX* const context = context_.get();
  if (context == nullptr || SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) != 1 ||
      SSL_CTX_set_ciphersuites(context, "TLS_AES_128_GCM_SHA256") != 1 || SSL_CTX_set_num_tickets(context, 0) != 1) {
    return OpensslError("preparing TLS");
  }
  SSL_CTX_set_app_data(context, this);
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  if (is_server()) {
    SSL_CTX_set_psk_find_session_callback(context, FindKey);
  } else {
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, nullptr);  // a certificate instead of the key: no authority knows it
    SSL_CTX_set_psk_use_session_callback(context, TlsLayer::UseKey);
  }
  return absl::OkStatus();
}

int TlsLayer::UseKey(SSL* ssl, const EVP_MD*, const unsigned char** name, size_t* name_bytes, SSL_SESSION** session) {
  const auto* const layer = static_cast<const TlsLayer*>(SSL_get_app_data(ssl));
  *name = reinterpret_cast<const unsigned char*>(layer->key_.name.data());
  *name_bytes = layer->key_.name.size();
  *session = SessionOf(ssl, layer->key_.key);
  return *session == nullptr ? 0 : 1;
}

absl::StatusOr<std::unique_ptr<TlsLayer>> TlsLayer::Create(const TlsContext& context, int socket, SharedKey key) {
  std::unique_ptr<TlsLayer> layer(new TlsLayer(socket, std::move(key)));
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

TlsLayer::~TlsLayer() = default;

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
  while (layer->in_start_ == layer->in_end_) {
    layer->in_.resize(kInBytes);
    const ssize_t got = ::recv(layer->socket_, layer->in_.data(), layer->in_.size(), MSG_DONTWAIT);
    if (got > 0) {
      layer->in_start_ = 0;
      layer->in_end_ = static_cast<size_t>(got);
    } else if (got < 0 && IsBusy(errno)) {
      BIO_set_retry_read(bio);
      return -1;
    } else if (got == 0 || errno != EINTR) {
      layer->socket_error_ = absl::UnavailableError(got == 0 ? "the peer closed the connection"
                                                             : absl::StrCat("receiving: ", strerror(errno)));
      return -1;
    }
  }
  const size_t given = std::min(static_cast<size_t>(size), layer->in_end_ - layer->in_start_);
  std::memcpy(data, layer->in_.data() + layer->in_start_, given);
  layer->in_start_ += given;
  return static_cast<int>(given);
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

absl::Status TlsLayer::Handshake() {
  ERR_clear_error();
  const int result = SSL_do_handshake(ssl_.get());
  if (result != 1) return Outcome(result);
  if (SSL_session_reused(ssl_.get()) != 1)
    return absl::UnavailableError("the TLS handshake used another key than ours");
  established_ = true;
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
  if (!established_) RETURN_IF_ERROR(Handshake());
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
    since_key_update_ += written;
    if (since_key_update_ < kKeyUpdateBytes) continue;
    since_key_update_ = 0;
    if (SSL_key_update(ssl_.get(), SSL_KEY_UPDATE_NOT_REQUESTED) != 1) return OpensslError("changing TLS's key");
  }
  RETURN_IF_ERROR(Flush());
  return done;
}

absl::StatusOr<size_t> TlsLayer::Read(absl::Span<const iovec> pieces) {
  if (!established_) RETURN_IF_ERROR(Handshake());
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
  return !starved_ && (in_start_ < in_end_ || SSL_has_pending(ssl_.get()) == 1);
}

}  // namespace droidspeak::tcp
