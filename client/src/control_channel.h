// SPDX-License-Identifier: Apache-2.0
// The control plane of one server as the client calls it. The only file of the client that speaks gRPC is
// control_channel.cc.
#pragma once

#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "client/src/link.h"
#include "common/base/tls_files.h"
#include "droidspeak/keys.h"

namespace droidspeak {

// Each call blocks, at most `timeout`, less when `stop` is requested. Thread-safe.
class ControlChannel {
 public:
  // `tls` is empty or has passed CheckTlsFiles().
  ControlChannel(const std::string& host_port, const TlsFiles& tls);
  // Under TLS: later calls go over a new connection, with the certificate that the files have by then.
  void Renew();
  ~ControlChannel();

  struct Opened {
    SessionInfo session;
    absl::Duration lease;
    std::string secret_id;
  };
  [[nodiscard]] absl::StatusOr<Opened> OpenSession(const std::vector<std::string>& transports, absl::Duration timeout,
                                                   const std::stop_token& stop);

  struct OpenedNamespace {
    uint32_t id = 0;
    Digest bytes;
  };
  [[nodiscard]] absl::StatusOr<OpenedNamespace> OpenNamespace(const SessionInfo& session, const Digest& weights,
                                                              const std::optional<Digest>& adapter,
                                                              const Layout& layout, absl::Duration timeout);

  // Takes words to the session's transport at the server, and brings its answer.
  [[nodiscard]] absl::StatusOr<std::string> Introduce(const SessionInfo& session, const std::string& words,
                                                      absl::Duration timeout, const std::stop_token& stop);

  // NOT_FOUND: the server does not know the session (any more).
  [[nodiscard]] absl::Status Heartbeat(const SessionInfo& session, absl::Duration timeout, const std::stop_token& stop);
  void CloseSession(const SessionInfo& session, absl::Duration timeout);

 private:
  struct Stub;
  const std::string host_port_;
  const bool secure_;
  mutable absl::Mutex mutex_;
  std::shared_ptr<Stub> stub_ ABSL_GUARDED_BY(mutex_);  // calls keep theirs

  std::shared_ptr<Stub> stub() const {
    absl::MutexLock lock(&mutex_);
    return stub_;
  }
};

}  // namespace droidspeak
