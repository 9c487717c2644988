// SPDX-License-Identifier: Apache-2.0
// The hello's messages: fixed sizes.
#include "common/transport/codec.h"

namespace droidspeak::wire {

void Put(Writer& out, const ClientHello& m) {
  HelloBody body{m.session_id, m.connection, 0, {}};
  std::memcpy(body.nonce, m.nonce.data(), m.nonce.size());
  out.Struct(body);
}

bool Get(Reader& in, ClientHello& m) {
  HelloBody body;
  if (!in.Struct(body) || body.reserved != 0) return false;
  m.session_id = body.session_id;
  m.connection = body.connection;
  std::memcpy(m.nonce.data(), body.nonce, m.nonce.size());
  return true;
}

void Put(Writer& out, const ServerHello& m) {
  ServerHelloBody body;
  std::memcpy(body.nonce, m.nonce.data(), m.nonce.size());
  std::memcpy(body.mac, m.mac.data(), m.mac.size());
  out.Struct(body);
}

bool Get(Reader& in, ServerHello& m) {
  ServerHelloBody body;
  if (!in.Struct(body)) return false;
  std::memcpy(m.nonce.data(), body.nonce, m.nonce.size());
  std::memcpy(m.mac.data(), body.mac, m.mac.size());
  return true;
}

void Put(Writer& out, const ClientProof& m) {
  ProofBody body;
  std::memcpy(body.mac, m.mac.data(), m.mac.size());
  out.Struct(body);
}

bool Get(Reader& in, ClientProof& m) {
  ProofBody body;
  if (!in.Struct(body)) return false;
  std::memcpy(m.mac.data(), body.mac, m.mac.size());
  return true;
}

void Put(Writer&, const HelloDone&) {}
bool Get(Reader&, HelloDone&) {
  return true;
}

}  // namespace droidspeak::wire
