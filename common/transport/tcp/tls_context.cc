// SPDX-License-Identifier: Apache-2.0
#include "common/transport/tcp/tls_context.h"

#include <openssl/err.h>
#include <openssl/ssl.h>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/status.h"
#include "common/transport/tcp/tls_layer.h"

namespace droidspeak::tcp {
namespace {

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

int UseKey(SSL* ssl, const EVP_MD*, const unsigned char** name, size_t* name_bytes, SSL_SESSION** session) {
  const auto* const layer = static_cast<TlsLayer*>(SSL_get_app_data(ssl));
  *name = reinterpret_cast<const unsigned char*>(layer->key().name.data());
  *name_bytes = layer->key().name.size();
  *session = SessionOf(ssl, layer->key().key);
  return *session == nullptr ? 0 : 1;
}

// A line of the format that Wireshark reads: LABEL CLIENT_RANDOM SECRET, the latter two in hexadecimal.
void NoteSecret(const SSL* ssl, const char* line) {
  auto* const layer = static_cast<TlsLayer*>(SSL_get_app_data(ssl));
  const std::vector<absl::string_view> words = absl::StrSplit(line, ' ');
  if (words.size() != 3 || (words[0] != "CLIENT_TRAFFIC_SECRET_0" && words[0] != "SERVER_TRAFFIC_SECRET_0")) return;
  const auto* const context = static_cast<const TlsContext*>(SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl)));
  const bool own = context->is_server() == absl::StartsWith(words[0], "SERVER");
  (own ? layer->secrets().sent : layer->secrets().received) = absl::HexStringToBytes(words[2]);
}

}  // namespace

absl::StatusOr<std::unique_ptr<TlsContext>> TlsContext::ForClient(TlsRecords records) {
  std::unique_ptr<TlsContext> context(new TlsContext(nullptr, records));
  RETURN_IF_ERROR(context->Prepare());
  return context;
}

absl::StatusOr<std::unique_ptr<TlsContext>> TlsContext::ForServer(KeyFinder keys, TlsRecords records) {
  std::unique_ptr<TlsContext> context(new TlsContext(std::move(keys), records));
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
  // The one way in which OpenSSL gives secrets away. Its own use of the kernel is left out of Debian's builds, and
  // needs BIOs that don't gather.
  if (records_.by_kernel) SSL_CTX_set_keylog_callback(context, NoteSecret);
  if (is_server()) {
    SSL_CTX_set_psk_find_session_callback(context, FindKey);
  } else {
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, nullptr);  // a certificate instead of the key: no authority knows it
    SSL_CTX_set_psk_use_session_callback(context, UseKey);
  }
  return absl::OkStatus();
}

absl::Status OpensslError(absl::string_view what) {
  char text[256] = "no reason given";
  if (const unsigned long error = ERR_peek_last_error(); error != 0) ERR_error_string_n(error, text, sizeof(text));
  ERR_clear_error();
  return absl::UnavailableError(absl::StrCat(what, ": ", text));
}

}  // namespace droidspeak::tcp
