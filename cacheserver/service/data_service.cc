// SPDX-License-Identifier: Apache-2.0
#include "cacheserver/service/data_service.h"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <optional>
#include <utility>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "cacheserver/service/inbox.h"
#include "cacheserver/service/peer.h"
#include "cacheserver/service/scheduler.h"
#include "cacheserver/service/tuning.h"
#include "common/base/log.h"
#include "common/base/status.h"
#include "common/base/thread.h"
#include "common/transport/session_tls_key.h"
#include "common/transport/transport.h"

namespace droidspeak {
namespace {

// How long the data thread, which has other things to do, may take to answer an introduction.
constexpr absl::Duration kIntroductionTimeout = absl::Seconds(2);
// At a time: each waits in a thread of the control plane, which has more to do.
constexpr int kIntroductions = 4;

}  // namespace

class DataService::Loop {
 public:
  Loop(const DataOptions& options, ExtentStore& store, SessionTable& sessions, ServiceMetrics& metrics)
      : options_(options),
        inbox_(std::make_shared<Inbox>()),
        context_{store, sessions, metrics, scheduler_, inbox_, options.offer_lease} {
    context_.drained = options.drained;
  }
  ~Loop() { Stop(absl::ZeroDuration()); }

  absl::Status Start();
  void Stop(absl::Duration grace);
  void Wake() { inbox_->Wake(); }
  uint64_t inflight_bytes() const { return scheduler_.inflight_bytes(); }
  const std::vector<Served>& served() const { return served_; }
  absl::StatusOr<std::string> Introduce(const std::string& transport, const std::string& words);

 private:
  absl::Status Serve(const std::string& transport, bool encrypt, const char* flag, const std::string& address);
  std::string LocalSocket() const;
  bool HasRoom() const;
  ConnectionEvents* Accept(const std::string& transport, std::unique_ptr<Connection> connection);
  std::optional<std::string> TlsKeyNamed(std::string_view name) const;
  void Run(const std::stop_token& stop);
  int Round();
  void Tick(absl::Time now);
  bool Finished(const std::stop_token& stop, absl::Time now);
  void Sleep();

  const DataOptions options_;
  const std::shared_ptr<Inbox> inbox_;
  Scheduler scheduler_;
  DataContext context_;
  std::vector<Served> served_;
  std::atomic<int64_t> grace_ms_{0};
  std::atomic<int> introductions_{0};

  // Of the data thread, once it runs. Workers outlive the peers' connections.
  std::vector<std::unique_ptr<Worker>> workers_;  // by the index of served_
  absl::flat_hash_set<std::shared_ptr<Peer>> peers_;
  absl::Time next_tick_ = absl::InfinitePast();
  absl::Time drain_until_ = absl::InfiniteFuture();
  absl::Time idle_since_ = absl::InfiniteFuture();  // no requests, while draining
  absl::Time close_until_ = absl::InfiniteFuture();

  std::unique_ptr<Thread> thread_;
};

absl::Status DataService::Loop::Start() {
  for (const DataOptions::Network& network : options_.networks) {
    const absl::Status status = Serve(network.transport, network.encrypt, "--data", options_.listen.ToString());
    if (!status.ok() && !network.optional) return status;
    if (!status.ok()) spdlog::info("not served: {}", std::string(status.message()));
  }
  if (options_.serve_local) {
    RETURN_IF_ERROR(Serve("local", false, "--local-socket", LocalSocket()));
    // The fastest, for those who can use it.
    std::rotate(served_.begin(), served_.end() - 1, served_.end());
    std::rotate(workers_.begin(), workers_.end() - 1, workers_.end());
  }
  thread_ = std::make_unique<Thread>("data", [this](const std::stop_token& stop) { Run(stop); });
  return absl::OkStatus();
}

std::string DataService::Loop::LocalSocket() const {
  if (!options_.local_socket.empty()) return options_.local_socket;
  for (const Served& served : served_) {
    const absl::StatusOr<HostPort> address = HostPort::Parse(served.address);
    if (address.ok()) return absl::StrCat("/tmp/droidspeak-", address->port, ".sock");
  }
  return absl::StrCat("/tmp/droidspeak-pid", getpid(), ".sock");
}

absl::Status DataService::Loop::Serve(const std::string& transport, bool encrypt, const char* flag,
                                      const std::string& address) {
  ASSIGN_OR_RETURN(const Transport* found, FindTransport(transport));
  absl::StatusOr<std::unique_ptr<Worker>> created = found->CreateWorker();
  if (!created.ok()) return Annotate(created.status(), absl::StrCat("transport ", transport));
  std::unique_ptr<Worker> worker = *std::move(created);
  const HostArena& arena = context_.store.arena();
  RETURN_IF_ERROR(worker->Register({arena.base(), arena.bytes(), arena.fd()}));
  if (encrypt) {
    RETURN_IF_ERROR(worker->AcceptEncryptedOnly([this](std::string_view name) { return TlsKeyNamed(name); }));
  }
  absl::StatusOr<std::string> bound = worker->Listen(
      address,
      [this, transport](std::unique_ptr<Connection> connection) { return Accept(transport, std::move(connection)); });
  if (!bound.ok()) return Annotate(bound.status(), absl::StrCat(flag, " ", address));
  workers_.push_back(std::move(worker));
  served_.push_back({transport, *std::move(bound), encrypt});
  return absl::OkStatus();
}

absl::StatusOr<std::string> DataService::Loop::Introduce(const std::string& transport, const std::string& words) {
  const auto found =
      std::find_if(served_.begin(), served_.end(), [&](const Served& served) { return served.transport == transport; });
  if (found == served_.end()) {
    return absl::InvalidArgumentError(absl::StrCat("transport '", transport, "' is not served here"));
  }
  const absl::Cleanup count = [this] { --introductions_; };
  if (++introductions_ > kIntroductions) return absl::UnavailableError("too many introductions at a time");
  struct Question {
    absl::StatusOr<std::string> answer = absl::UnavailableError("the server is shutting down");
    absl::Notification answered;
    std::atomic<bool> abandoned{false};
  };
  const auto question = std::make_shared<Question>();
  // Answered also when the data thread has ended, and drops what it was given.
  std::shared_ptr<Question> asked(question.get(), [question](Question*) { question->answered.Notify(); });
  inbox_->Post([this, asked = std::move(asked), words, index = found - served_.begin()] {
    if (asked->abandoned) return;
    asked->answer = HasRoom() ? workers_[index]->Answer(words)
                              : absl::ResourceExhaustedError("the server takes no more connections");
  });
  if (question->answered.WaitForNotificationWithTimeout(kIntroductionTimeout)) return question->answer;
  question->abandoned = true;
  return absl::UnavailableError("the data plane does not answer");
}

bool DataService::Loop::HasRoom() const {
  const auto strangers = static_cast<size_t>(
      std::count_if(peers_.begin(), peers_.end(), [](const auto& peer) { return !peer->authenticated(); }));
  return !context_.draining && peers_.size() < tuning::kConnections && strangers < tuning::kUnauthenticatedConnections;
}

std::optional<std::string> DataService::Loop::TlsKeyNamed(std::string_view name) const {
  const std::optional<uint64_t> id = SessionOfTlsKey(name);
  const std::shared_ptr<Session> session = id.has_value() ? context_.sessions.Find(*id) : nullptr;
  if (session == nullptr) return std::nullopt;
  return TlsKeyOf(session->id(), session->data_key()).key;
}

ConnectionEvents* DataService::Loop::Accept(const std::string& transport, std::unique_ptr<Connection> connection) {
  if (!HasRoom()) {
    context_.metrics.Rejected(absl::StatusCode::kResourceExhausted);
    return nullptr;
  }
  auto peer = std::make_shared<Peer>(context_, transport, std::move(connection), SteadyNow());
  peers_.insert(peer);
  return peer.get();
}

int DataService::Loop::Round() {
  int done = inbox_->Run();
  for (const auto& worker : workers_) done += worker->Progress();
  done += scheduler_.Pump() > 0 ? 1 : 0;
  return done;
}

void DataService::Loop::Tick(absl::Time now) {
  context_.sessions.ExpireUntil(now);
  scheduler_.Tick();
  std::vector<std::shared_ptr<Peer>> peers(peers_.begin(), peers_.end());
  for (const auto& peer : peers) {
    peer->Tick(now);
    if (peer->closed()) peers_.erase(peer);
  }
  next_tick_ = now + tuning::kIdleTick;
}

bool DataService::Loop::Finished(const std::stop_token& stop, absl::Time now) {
  if (!stop.stop_requested()) return false;
  if (!context_.draining) {
    context_.draining = true;
    drain_until_ = now + absl::Milliseconds(grace_ms_.load());
  }
  const bool busy = std::any_of(peers_.begin(), peers_.end(), [](const auto& peer) { return peer->has_requests(); });
  if (!busy) idle_since_ = std::min(idle_since_, now);
  if (close_until_ == absl::InfiniteFuture() && (now >= idle_since_ + tuning::kLinger || now >= drain_until_)) {
    for (const auto& peer : peers_) peer->Close();
    close_until_ = now + absl::Seconds(2);
    next_tick_ = now;
  }
  if (peers_.empty()) return true;
  if (now < close_until_) return false;
  spdlog::warn("data plane: {} connections did not close in time", peers_.size());
  return true;
}

void DataService::Loop::Sleep() {
  std::vector<pollfd> fds = {{inbox_->wakeup().fd(), POLLIN, 0}};
  for (const auto& worker : workers_) {
    if (!worker->Arm()) return;
    fds.push_back({worker->event_fd(), POLLIN, 0});
  }
  if (!inbox_->empty()) return;
  const int64_t timeout_ms = absl::ToInt64Milliseconds(next_tick_ - SteadyNow()) + 1;
  poll(fds.data(), fds.size(), static_cast<int>(std::clamp<int64_t>(timeout_ms, 0, 1000)));
  inbox_->wakeup().Drain();
}

void DataService::Loop::Run(const std::stop_token& stop) {
  inbox_->Own();
  const std::stop_callback wake(stop, [this] { inbox_->Wake(); });
  int empty_rounds = 0;
  while (true) {
    const bool worked = Round() > 0;
    const absl::Time now = SteadyNow();
    if (now >= next_tick_) Tick(now);
    if (scheduler_.transfers() > 0 || context_.draining) next_tick_ = std::min(next_tick_, now + tuning::kBusyTick);
    if (Finished(stop, now)) break;
    empty_rounds = worked ? 0 : empty_rounds + 1;
    const int spins = scheduler_.inflight_bytes() > 0 ? tuning::kSpins : 0;
    if (empty_rounds > spins) Sleep();
  }
  inbox_->Close();
  peers_.clear();
  workers_.clear();
}

void DataService::Loop::Stop(absl::Duration grace) {
  if (thread_ == nullptr) return;
  grace_ms_.store(absl::ToInt64Milliseconds(grace));
  thread_->Stop();
  thread_.reset();
}

absl::StatusOr<std::unique_ptr<DataService>> DataService::Start(const DataOptions& options, ExtentStore& store,
                                                                SessionTable& sessions, ServiceMetrics& metrics) {
  auto loop = std::make_unique<Loop>(options, store, sessions, metrics);
  RETURN_IF_ERROR(loop->Start());
  return std::unique_ptr<DataService>(new DataService(std::move(loop)));
}

DataService::DataService(std::unique_ptr<Loop> loop) : loop_(std::move(loop)) {}
DataService::~DataService() = default;
const std::vector<DataService::Served>& DataService::served() const {
  return loop_->served();
}
absl::StatusOr<std::string> DataService::Introduce(const std::string& transport, const std::string& words) {
  return loop_->Introduce(transport, words);
}
void DataService::Wake() {
  loop_->Wake();
}
uint64_t DataService::inflight_bytes() const {
  return loop_->inflight_bytes();
}
void DataService::Stop(absl::Duration grace) {
  loop_->Stop(grace);
}

}  // namespace droidspeak
