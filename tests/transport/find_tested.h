// SPDX-License-Identifier: Apache-2.0
// The transports that the conformance tests know by name: those of the build, and variants of them.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "common/transport/introduced_transport.h"
#include "common/transport/tcp/tcp_transport.h"
#include "common/transport/transport.h"
#include "common/transport/verbs/verbs_transport.h"
#include "tests/transport/encrypted_tcp.h"
#include "tests/transport/in_process_transport.h"

namespace droidspeak {

// "in_process" is the tests' own; "tcp_streams" is tcp with four streams a connection within a host too, "tcp_tls" and
// "tcp_tls_streams" are the same under TLS; "verbs_queues" is verbs with four queue pairs a connection.
inline absl::StatusOr<const Transport*> FindTestedTransport(const std::string& name) {
  static const InProcessTransport kInProcess;
  static const TcpTransport kTcpOfFourStreams({.within_host = 3, .between_hosts = 3});
  static const EncryptedTcpTransport kTls({});
  static const EncryptedTcpTransport kTlsOfFourStreams({.within_host = 3, .between_hosts = 3});
  static const VerbsTransport kVerbsOfFourQueues(4);
  static const IntroducedTransport kIntroduced(kVerbsOfFourQueues);
  if (name == "in_process") return &kInProcess;
  if (name == "verbs_queues") return &kIntroduced;
  if (name == "tcp_streams") return &kTcpOfFourStreams;
  if (name == "tcp_tls") return &kTls;
  if (name == "tcp_tls_streams") return &kTlsOfFourStreams;
  return FindTransportByAddress(name);
}

}  // namespace droidspeak
