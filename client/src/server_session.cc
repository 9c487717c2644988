// SPDX-License-Identifier: Apache-2.0
#include "client/src/server_session.h"

#include <algorithm>
#include <utility>

#include "absl/time/clock.h"
#include "common/base/log.h"
#include "common/base/status.h"

namespace droidspeak {
namespace {

constexpr absl::Duration kHeartbeatInterval = absl::Milliseconds(500);
constexpr absl::Duration kHeartbeatTimeout = absl::Seconds(1);
// One lost heartbeat may be a busy machine; two are a server that has stopped.
constexpr int kHeartbeatStrikes = 2;
constexpr absl::Duration kFirstBackoff = absl::Milliseconds(100);
constexpr absl::Duration kLongestBackoff = absl::Seconds(2);
// After a transport has not connected, while there are others.
constexpr absl::Duration kAvoidance = absl::Minutes(1);
constexpr absl::Duration kGoodbyeTimeout = absl::Milliseconds(200);

}  // namespace

ServerSession::ServerSession(Reactor& reactor, Directory& directory, ServerAddress address,
                             std::vector<std::string> transports, const TlsFiles& tls, absl::Duration connect_timeout)
    : reactor_(reactor),
      directory_(directory),
      address_(std::move(address)),
      transports_(std::move(transports)),
      connect_timeout_(connect_timeout),
      channel_(address_.host_port, tls) {
  thread_ = std::make_unique<Thread>("ds-session", [this](const std::stop_token& stop) { Run(stop); });
}

ServerSession::~ServerSession() {
  thread_->Stop();
}

absl::Status ServerSession::WaitForFirstAttempt() {
  absl::MutexLock lock(&mutex_);
  mutex_.Await(absl::Condition(
      +[](std::optional<absl::Status>* attempt) { return attempt->has_value(); }, &first_attempt_));
  return *first_attempt_;
}

std::shared_ptr<Link> ServerSession::link() const {
  absl::MutexLock lock(&mutex_);
  return link_ != nullptr && link_->live() ? link_ : nullptr;
}

std::optional<Target> ServerSession::Find(int namespace_index) const {
  absl::MutexLock lock(&mutex_);
  if (link_ == nullptr || !link_->live() || namespace_index >= static_cast<int>(namespace_ids_.size()) ||
      !namespace_ids_[namespace_index].has_value()) {
    return std::nullopt;
  }
  return Target{link_, *namespace_ids_[namespace_index]};
}

void ServerSession::Announce(const std::shared_ptr<RegionMemory>& memory) {
  absl::MutexLock lock(&mutex_);
  if (link_ != nullptr) link_->Announce(memory);
}

void ServerSession::Withdraw(uint32_t region) {
  absl::MutexLock lock(&mutex_);
  if (link_ != nullptr) link_->Withdraw(region);
}

absl::Status ServerSession::OpenNamespace(int namespace_index) {
  const std::shared_ptr<Link> link = this->link();
  if (link == nullptr) return absl::UnavailableError(absl::StrCat("no connection to ", address_.host_port));
  return OpenOnServer(link->session(), namespace_index);
}

absl::Status ServerSession::OpenOnServer(const SessionInfo& session, int namespace_index) {
  const Directory::NamespaceKey key = directory_.namespace_key(namespace_index);
  ASSIGN_OR_RETURN(const ControlChannel::OpenedNamespace opened,
                   channel_.OpenNamespace(session, key.weights, key.adapter, key.layout, connect_timeout_));
  RETURN_IF_ERROR(directory_.AgreeOnBytes(namespace_index, opened.bytes, session.server_name));
  absl::MutexLock lock(&mutex_);
  if (link_ == nullptr || link_->session().id != session.id) {
    return absl::UnavailableError(absl::StrCat("the session with ", address_.host_port, " was lost"));
  }
  if (static_cast<int>(namespace_ids_.size()) <= namespace_index) namespace_ids_.resize(namespace_index + 1);
  namespace_ids_[namespace_index] = opened.id;
  return absl::OkStatus();
}

void ServerSession::Run(const std::stop_token& stop) {
  absl::Duration backoff = kFirstBackoff;
  const std::stop_callback wake(stop, [this] {
    absl::MutexLock lock(&mutex_);  // makes waiters look at stopping_ again
    stopping_ = true;
  });
  while (!stop.stop_requested()) {
    const absl::Status established = Establish(stop);
    bool first = false;
    {
      absl::MutexLock lock(&mutex_);
      first = !std::exchange(first_attempt_, established).has_value();
    }
    if (established.ok()) {
      backoff = kFirstBackoff;
      KeepAlive(stop);
      channel_.Renew();
    } else {
      channel_.Renew();
      // Connect says what the first attempt met. Of the others, each trouble once.
      const std::string trouble(established.message());
      if (!first && trouble != trouble_) spdlog::warn("server {}: {}", address_.host_port, trouble);
      trouble_ = trouble;
      Retire(established);
    }
    absl::MutexLock lock(&mutex_);
    mutex_.AwaitWithTimeout(absl::Condition(&stopping_), backoff);
    backoff = std::min(2 * backoff, kLongestBackoff);
  }
  if (const std::shared_ptr<Link> last = link(); last != nullptr)
    channel_.CloseSession(last->session(), kGoodbyeTimeout);
  Retire(absl::CancelledError("the client is closing"));
  for (const auto& link : retired_) reactor_.RunAndWait([&] { link->Drop(); });
}

std::vector<std::string> ServerSession::Offers(absl::Time now) const {
  std::vector<std::string> offers = transports_;
  if (now < avoided_until_) std::erase(offers, avoided_);
  return offers;
}

absl::Status ServerSession::Establish(const std::stop_token& stop) {
  const absl::Time avoided_before = avoided_until_;
  const absl::Status established = EstablishOver(Offers(absl::Now()), stop);
  if (established.ok() || avoided_until_ == avoided_before) return established;
  spdlog::warn("server {}: {}; trying without {}", address_.host_port, std::string(established.message()), avoided_);
  Retire(established);
  return EstablishOver(Offers(absl::Now()), stop);
}

absl::Status ServerSession::EstablishOver(const std::vector<std::string>& transports, const std::stop_token& stop) {
  ASSIGN_OR_RETURN(ControlChannel::Opened opened, channel_.OpenSession(transports, connect_timeout_, stop));
  const absl::Status used = Use(opened, transports, stop);
  // It would count against the server's limit until its lease is over.
  if (!used.ok()) channel_.CloseSession(opened.session, kGoodbyeTimeout);
  return used;
}

absl::Status ServerSession::Use(ControlChannel::Opened& opened, const std::vector<std::string>& transports,
                                const std::stop_token& stop) {
  // Here, where nobody else has to wait for a look-up.
  ASSIGN_OR_RETURN(const Transport* const transport, FindTransport(opened.session.transport));
  ASSIGN_OR_RETURN(opened.session.address, transport->Resolve(opened.session.address));
  opened.session.introduced = transport->introduces();
  const SessionInfo& session = opened.session;
  if (!address_.name.empty() && session.server_name != address_.name) {
    return absl::FailedPreconditionError(absl::StrCat("the server at ", address_.host_port, " calls itself '",
                                                      session.server_name, "'; expected '", address_.name, "'"));
  }
  RETURN_IF_ERROR(directory_.AgreeOnSecret(opened.secret_id, session.server_name));
  {
    auto introduce = [this, id = session.id](std::string words, Answered answered) {
      absl::MutexLock lock(&mutex_);
      introduction_ = Introduction{id, std::move(words), std::move(answered)};
    };
    auto on_closed = [this, id = session.id](const absl::Status& why) {
      absl::MutexLock lock(&mutex_);
      if (link_ != nullptr && link_->session().id != id) return;  // an earlier link's late end
      link_state_ = LinkState::kClosed;
      closed_why_ = why;
    };
    const auto link = std::make_shared<Link>(reactor_, session, std::move(introduce), std::move(on_closed));
    {
      absl::MutexLock lock(&mutex_);
      link_ = link;
      link_state_ = LinkState::kConnecting;
      namespace_ids_.clear();
      // Under the lock, so that a region made from now on is announced to this link and one made before is in the list.
      link->Start(directory_.regions(), [this] {
        absl::MutexLock ready(&mutex_);
        link_state_ = LinkState::kReady;
      });
    }
  }
  if (absl::Status ready = WaitUntilReady(stop); !ready.ok()) {
    // That the control plane reaches a server says nothing of a fabric beside it.
    if (session.introduced && transports.size() > 1 && !stop.stop_requested()) {
      avoided_ = session.transport;
      avoided_until_ = absl::Now() + kAvoidance;
    }
    return ready;
  }
  for (int i = 0; i < directory_.namespaces(); ++i) {
    const absl::Status namespace_opened = OpenOnServer(session, i);
    if (absl::IsInvalidArgument(namespace_opened) || absl::IsResourceExhausted(namespace_opened)) {
      spdlog::warn("server {}: {}; its blocks of that namespace are misses", session.server_name,
                   std::string(namespace_opened.message()));
      continue;
    }
    RETURN_IF_ERROR(namespace_opened);
  }
  spdlog::info("server {} ({}): connected over {} ({})", session.server_name, address_.host_port, session.transport,
               session.reason);
  return absl::OkStatus();
}

absl::Status ServerSession::WaitUntilReady(const std::stop_token& stop) {
  const absl::Time deadline = absl::Now() + connect_timeout_;
  absl::MutexLock lock(&mutex_);
  const auto settled = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return link_state_ != LinkState::kConnecting || stopping_ || introduction_.has_value();
  };
  bool in_time;
  while ((in_time = mutex_.AwaitWithDeadline(absl::Condition(&settled), deadline)) && introduction_.has_value()) {
    const Introduction asked = *std::exchange(introduction_, std::nullopt);
    const std::shared_ptr<Link> link = link_;
    if (asked.session != link->session().id) continue;
    mutex_.Unlock();
    const absl::StatusOr<std::string> answer =
        channel_.Introduce(link->session(), asked.words, deadline - absl::Now(), stop);
    reactor_.Post([answered = asked.answered, answer] { answered(answer); });
    mutex_.Lock();
  }
  if (!in_time) {
    return absl::DeadlineExceededError(absl::StrCat("no data-plane connection to ", link_->session().transport, ":",
                                                    link_->session().address, " within ",
                                                    absl::FormatDuration(connect_timeout_)));
  }
  if (link_state_ == LinkState::kReady) return absl::OkStatus();
  return Annotate(stopping_ ? absl::CancelledError("the client is closing") : closed_why_,
                  absl::StrCat("data-plane connection to ", link_->session().transport, ":", link_->session().address));
}

void ServerSession::KeepAlive(const std::stop_token& stop) {
  const std::shared_ptr<Link> link = this->link();
  if (link == nullptr) return Retire(absl::UnavailableError("the connection was lost"));
  const auto ended = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return link_state_ == LinkState::kClosed || stopping_;
  };
  int strikes = 0;
  while (true) {
    {
      absl::MutexLock lock(&mutex_);
      if (mutex_.AwaitWithTimeout(absl::Condition(&ended), kHeartbeatInterval)) {
        if (!stopping_) spdlog::warn("server {}: {}", address_.host_port, std::string(closed_why_.message()));
        break;
      }
    }
    const absl::Status beat = channel_.Heartbeat(link->session(), kHeartbeatTimeout, stop);
    strikes = beat.ok() ? 0 : strikes + 1;
    if (absl::IsNotFound(beat) || strikes >= kHeartbeatStrikes) {
      spdlog::warn("server {}: heartbeat: {}", address_.host_port, std::string(beat.message()));
      Retire(Annotate(beat, "heartbeat"));
      return;
    }
  }
  if (!stop.stop_requested()) Retire(absl::UnavailableError("the connection was lost"));
}

void ServerSession::Retire(const absl::Status& why) {
  std::shared_ptr<Link> link;
  {
    absl::MutexLock lock(&mutex_);
    link = std::exchange(link_, nullptr);
    namespace_ids_.clear();
  }
  if (link == nullptr) return;
  link->Close(why);
  std::erase_if(retired_, [](const auto& old) { return old.use_count() == 1; });  // those without a connection
  retired_.push_back(std::move(link));
}

}  // namespace droidspeak
