// SPDX-License-Identifier: Apache-2.0
// The session with one server: opened, kept alive and opened again when it was lost.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "client/src/control_channel.h"
#include "client/src/directory.h"
#include "client/src/link.h"
#include "client/src/reactor.h"
#include "common/base/thread.h"

namespace droidspeak {

// A live link and the server's number for a namespace on it.
struct Target {
  std::shared_ptr<Link> link;
  uint32_t namespace_id = 0;
};

// Owns a thread that talks gRPC (OpenSession, OpenNamespace, Heartbeat) and never moves bytes. Thread-safe.
class ServerSession {
 public:
  // `directory` has the regions and namespaces that each new link needs; it outlives the session, as does `reactor`.
  ServerSession(Reactor& reactor, Directory& directory, ServerAddress address, std::vector<std::string> transports,
                const TlsFiles& tls, absl::Duration connect_timeout);
  ~ServerSession();

  // Waits until the first attempt to connect has ended, and says how.
  absl::Status WaitForFirstAttempt();

  // What to send requests of a namespace to; nothing while the server cannot be used.
  std::optional<Target> Find(int namespace_index) const;
  // The live link, or null.
  std::shared_ptr<Link> link() const;

  // Opens a namespace that was added to the directory, on the live link. UNAVAILABLE without one.
  absl::Status OpenNamespace(int namespace_index);

  // Tells the live or coming-up link of a region made or freed; later links learn it from the directory.
  void Announce(const std::shared_ptr<RegionMemory>& memory);
  void Withdraw(uint32_t region);

  const std::string& name() const { return address_.name; }

 private:
  enum class LinkState { kConnecting, kReady, kClosed };
  // What a link has to tell the server, for the session's thread to carry.
  struct Introduction {
    uint64_t session;
    std::string words;
    Answered answered;  // on the reactor's thread
  };

  void Run(const std::stop_token& stop);
  absl::Status Establish(const std::stop_token& stop);
  absl::Status EstablishOver(const std::vector<std::string>& transports, const std::stop_token& stop);
  // Makes a session of what the server opened for these transports.
  absl::Status Use(ControlChannel::Opened& opened, const std::vector<std::string>& transports,
                   const std::stop_token& stop);
  // The transports to offer now.
  std::vector<std::string> Offers(absl::Time now) const;
  absl::Status WaitUntilReady(const std::stop_token& stop);
  absl::Status OpenOnServer(const SessionInfo& session, int namespace_index);
  void KeepAlive(const std::stop_token& stop);
  void Retire(const absl::Status& why);

  Reactor& reactor_;
  Directory& directory_;
  const ServerAddress address_;
  const std::vector<std::string> transports_;
  const absl::Duration connect_timeout_;
  ControlChannel channel_;

  mutable absl::Mutex mutex_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::optional<absl::Status> first_attempt_ ABSL_GUARDED_BY(mutex_);
  std::shared_ptr<Link> link_ ABSL_GUARDED_BY(mutex_);
  LinkState link_state_ ABSL_GUARDED_BY(mutex_) = LinkState::kClosed;
  absl::Status closed_why_ ABSL_GUARDED_BY(mutex_);
  std::optional<Introduction> introduction_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::optional<uint32_t>> namespace_ids_ ABSL_GUARDED_BY(mutex_);  // by the directory's index
  // The session's thread: a transport that both ends have and that nevertheless did not connect, and until when it is
  // not offered again.
  std::string avoided_;
  absl::Time avoided_until_ = absl::InfinitePast();
  std::string trouble_;                         // why the last attempt failed
  std::vector<std::shared_ptr<Link>> retired_;  // the session's thread: closed links whose memory may still be touched

  std::unique_ptr<Thread> thread_;  // last: it uses all of the above
};

}  // namespace droidspeak
