// SPDX-License-Identifier: Apache-2.0
#include "tests/transport/in_process_transport.h"

#include <errno.h>
#include <sys/eventfd.h>

#include <atomic>
#include <cstring>
#include <map>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/functional/any_invocable.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "common/base/files.h"
#include "common/base/owned_fd.h"
#include "common/transport/region_table.h"

namespace droidspeak {
namespace {

// Messages that the peer has not read are kept up to this, then Send is refused.
constexpr size_t kMaxQueuedBytes = size_t{8} << 20;

// What a worker is to do, in order. Thread-safe, but for Run() and Arm(), which are the worker's.
class Inbox {
 public:
  using Task = absl::AnyInvocable<void()>;

  explicit Inbox(OwnedFd event) : event_(std::move(event)) {}

  // False when the worker has gone.
  bool Post(Task task) {
    absl::MutexLock lock(&mutex_);
    if (closed_) return false;
    tasks_.push_back(std::move(task));
    ::eventfd_write(event_.get(), 1);
    return true;
  }
  // Does what is there, and not what that adds.
  int Run() {
    std::vector<Task> tasks;
    {
      absl::MutexLock lock(&mutex_);
      tasks.swap(tasks_);
    }
    for (Task& task : tasks) task();
    return static_cast<int>(tasks.size());
  }
  bool Arm() {
    absl::MutexLock lock(&mutex_);
    if (!tasks_.empty()) return false;
    eventfd_t ignored;
    ::eventfd_read(event_.get(), &ignored);
    return true;
  }
  void Close() {
    absl::MutexLock lock(&mutex_);
    closed_ = true;
  }
  int fd() const { return event_.get(); }

 private:
  absl::Mutex mutex_;
  std::vector<Task> tasks_ ABSL_GUARDED_BY(mutex_);
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
  const OwnedFd event_;
};

class InProcessConnection;
enum Role { kClient, kServer };

// What the two ends share.
struct Link {
  struct End {
    std::shared_ptr<Inbox> inbox;
    InProcessConnection* connection = nullptr;  // for the thread of this end's worker; null once destroyed
    std::atomic<size_t> queued_bytes = 0;       // on their way to it
  };
  End ends[2];
  std::string address;
  absl::Mutex copying;                          // held while a transfer touches the client's memory
  bool quiet ABSL_GUARDED_BY(copying) = false;  // none may any more

  // Runs `task` on the thread of that end, unless its connection has been destroyed.
  void Tell(const std::shared_ptr<Link>& self, Role role, absl::AnyInvocable<void(InProcessConnection&)> task);
};

class InProcessConnection final : public Connection {
 public:
  InProcessConnection(std::shared_ptr<Link> link, Role role) : link_(std::move(link)), role_(role) {
    link_->ends[role].connection = this;
  }
  ~InProcessConnection() override {
    if (state_ == State::kOpen) End(absl::CancelledError("destroyed"));
    link_->ends[role_].connection = nullptr;
  }

  void set_events(ConnectionEvents* events) { events_ = events; }

  absl::Status Send(absl::Span<const std::byte> message) override {
    if (message.empty() || message.size() > kMaxMessageBytes) {
      return absl::InvalidArgumentError(
          absl::StrCat("a message of ", message.size(), " bytes; expected 1 to ", kMaxMessageBytes));
    }
    if (state_ != State::kOpen) return Closed();
    std::atomic<size_t>& queued = link_->ends[other()].queued_bytes;
    if (queued + message.size() > kMaxQueuedBytes) return absl::ResourceExhaustedError("the peer does not read");
    queued += message.size();
    TellPeer([&queued, bytes = std::vector(message.begin(), message.end())](InProcessConnection& peer) {
      queued -= bytes.size();
      if (peer.state_ == State::kOpen) peer.events_->OnMessage(peer, bytes);
    });
    return absl::OkStatus();
  }

  absl::Status AnnounceRegion(uint32_t region, const MemoryRegion& memory) override {
    if (absl::Status may = Check(kClient); !may.ok()) return may;
    if (absl::Status host = CheckHostMemory(memory); !host.ok()) return host;
    if (absl::Status added = regions_.Add(region, {memory.base, memory.bytes}); !added.ok()) return added;
    TellPeer([region, memory](InProcessConnection& server) {
      if (server.state_ != State::kOpen) return;
      absl::Status added = server.authorized_ ? server.regions_.Add(region, {memory.base, memory.bytes})
                                              : absl::PermissionDeniedError("a region before the hello");
      if (!added.ok()) server.End(added);
    });
    return absl::OkStatus();
  }

  absl::Status WithdrawRegion(uint32_t region) override {
    if (absl::Status may = Check(kClient); !may.ok()) return may;
    if (absl::Status removed = regions_.Remove(region).status(); !removed.ok()) return removed;
    TellPeer([region](InProcessConnection& server) { (void)server.regions_.Remove(region); });
    return absl::OkStatus();
  }

  void Authorize() override { authorized_ = true; }

  absl::Status Push(const std::byte* source, const RemoteRange& to, uint64_t token) override {
    return Transfer(to, token, [&](std::byte* memory) { std::memcpy(memory, source, to.bytes); });
  }
  absl::Status Pull(std::byte* destination, const RemoteRange& from, uint64_t token) override {
    return Transfer(from, token, [&](const std::byte* memory) { std::memcpy(destination, memory, from.bytes); });
  }

  void Close() override {
    if (state_ == State::kOpen) End(absl::CancelledError("closed by this end"));
  }
  std::string peer() const override { return absl::StrCat("in_process:", link_->address); }

 private:
  enum class State { kOpen, kEnding, kClosed };

  Role other() const { return role_ == kClient ? kServer : kClient; }
  void TellPeer(absl::AnyInvocable<void(InProcessConnection&)> task) { link_->Tell(link_, other(), std::move(task)); }
  void TellSelf(absl::AnyInvocable<void(InProcessConnection&)> task) { link_->Tell(link_, role_, std::move(task)); }
  static absl::Status Closed() { return absl::UnavailableError("the connection is closed"); }

  absl::Status Check(Role role) const {
    if (role != role_) return absl::FailedPreconditionError("a call of the other end's");
    return state_ == State::kOpen ? absl::OkStatus() : Closed();
  }

  template <typename Copy>
  absl::Status Transfer(const RemoteRange& range, uint64_t token, const Copy& copy) {
    if (absl::Status may = Check(kServer); !may.ok()) return may;
    absl::StatusOr<std::byte*> memory = regions_.Find(range);
    if (!memory.ok()) return memory.status();
    absl::Status done;
    {
      absl::MutexLock lock(&link_->copying);
      if (link_->quiet) {
        done = Closed();
      } else {
        copy(*memory);
      }
    }
    TellSelf([token, done](InProcessConnection& self) { self.events_->OnTransferDone(self, token, done); });
    return absl::OkStatus();
  }

  // What was told to this end before still comes before OnClosed, as far as it is not a message.
  void End(const absl::Status& why) {
    state_ = State::kEnding;
    {
      absl::MutexLock lock(&link_->copying);
      link_->quiet = true;
    }
    TellPeer([](InProcessConnection& peer) {
      if (peer.state_ == State::kOpen) peer.End(absl::UnavailableError("closed by the peer"));
    });
    TellSelf([why](InProcessConnection& self) {
      self.state_ = State::kClosed;
      self.events_->OnClosed(self, why);
    });
  }

  const std::shared_ptr<Link> link_;
  const Role role_;
  ConnectionEvents* events_ = nullptr;
  RegionTable regions_;  // the client's, as this end knows them
  bool authorized_ = false;
  State state_ = State::kOpen;
};

void Link::Tell(const std::shared_ptr<Link>& self, Role role, absl::AnyInvocable<void(InProcessConnection&)> task) {
  ends[role].inbox->Post([link = self, role, task = std::move(task)]() mutable {
    if (InProcessConnection* connection = link->ends[role].connection) task(*connection);
  });
}

class InProcessWorker;

// Who listens where.
struct Listeners {
  struct Listener {
    InProcessWorker* worker;  // for its own thread
    std::shared_ptr<Inbox> inbox;
  };
  absl::Mutex mutex;
  std::map<std::string, Listener> by_address ABSL_GUARDED_BY(mutex);
};
Listeners& AllListeners() {
  static auto& listeners = *new Listeners;  // never destroyed: workers may outlive statics
  return listeners;
}

class InProcessWorker final : public Worker {
 public:
  explicit InProcessWorker(OwnedFd event) : inbox_(std::make_shared<Inbox>(std::move(event))) {}

  ~InProcessWorker() override {
    if (accept_ != nullptr) {
      absl::MutexLock lock(&AllListeners().mutex);
      AllListeners().by_address.erase(address_);
    }
    // Connections that still wait are refused.
    accept_ = nullptr;
    inbox_->Close();
    inbox_->Run();
  }

  absl::StatusOr<std::string> Listen(const std::string& address, AcceptFunction accept) override {
    if (accept_ != nullptr) return absl::FailedPreconditionError("this worker listens already");
    absl::MutexLock lock(&AllListeners().mutex);
    if (!AllListeners().by_address.try_emplace(address, Listeners::Listener{this, inbox_}).second) {
      return absl::AlreadyExistsError(absl::StrCat("somebody listens at ", address));
    }
    address_ = address;
    accept_ = std::move(accept);
    return address;
  }

  absl::StatusOr<std::unique_ptr<Connection>> Connect(const std::string& address, ConnectionEvents* events) override {
    absl::MutexLock lock(&AllListeners().mutex);
    const auto found = AllListeners().by_address.find(address);
    if (found == AllListeners().by_address.end()) {
      return absl::UnavailableError(absl::StrCat("nobody listens at ", address));
    }
    auto link = std::make_shared<Link>();
    link->address = address;
    link->ends[kClient].inbox = inbox_;
    link->ends[kServer].inbox = found->second.inbox;
    auto connection = std::make_unique<InProcessConnection>(link, kClient);
    connection->set_events(events);
    link->ends[kServer].inbox->Post([link, listener = found->second.worker] { listener->Accept(link); });
    return connection;
  }

  absl::Status Register(const MemoryRegion& memory) override { return CheckHostMemory(memory); }
  int Progress() override { return inbox_->Run(); }
  bool Arm() override { return inbox_->Arm(); }
  int event_fd() const override { return inbox_->fd(); }

 private:
  void Accept(const std::shared_ptr<Link>& link) {
    auto connection = std::make_unique<InProcessConnection>(link, kServer);
    if (accept_ == nullptr) return;
    ConnectionEvents* events = accept_(std::move(connection));
    if (InProcessConnection* accepted = link->ends[kServer].connection) accepted->set_events(events);
  }

  const std::shared_ptr<Inbox> inbox_;
  std::string address_;
  AcceptFunction accept_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Worker>> InProcessTransport::CreateWorker() const {
  OwnedFd event(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (event.get() < 0) return ErrnoStatus(errno, "eventfd");
  return std::make_unique<InProcessWorker>(std::move(event));
}

}  // namespace droidspeak
