// SPDX-License-Identifier: Apache-2.0
#include "bench/raw_load.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "bench/raw_messages.h"
#include "common/base/files.h"
#include "common/base/status.h"

extern char** environ;

namespace droidspeak::bench {
namespace {

constexpr absl::Duration kPatience = absl::Seconds(120);

struct ServerProcess {
  pid_t pid;
  std::string address;
};

// Starts this program as `raw-server` and reads the address that it prints.
absl::StatusOr<ServerProcess> StartServer(const std::string& transport, const std::string& address,
                                          const RawShape& shape) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return ErrnoStatus(errno, "opening a pipe");
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
  std::vector<std::string> arguments = {"/proc/self/exe", "raw-server",
                                        "--transport",    transport,
                                        "--address",      address,
                                        "--extent",       absl::StrCat(shape.extent_bytes),
                                        "--blocks",       absl::StrCat(shape.blocks),
                                        "--layers",       absl::StrCat(shape.layers)};
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  ServerProcess server{};
  const int error = ::posix_spawn(&server.pid, "/proc/self/exe", &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  ::close(ends[1]);
  char c;
  while (error == 0 && ::read(ends[0], &c, 1) == 1 && c != '\n') server.address.push_back(c);
  ::close(ends[0]);
  if (error != 0) return ErrnoStatus(error, "starting the server process");
  if (server.address.empty()) {
    ::waitpid(server.pid, nullptr, 0);
    return absl::UnavailableError("the server process did not start");
  }
  return server;
}

}  // namespace

// Notes the server's replies.
class RawLoad::Events final : public ConnectionEvents {
 public:
  void OnMessage(Connection& connection, absl::Span<const std::byte> message) override {
    if (!ReadAs(message, reply)) return connection.Close();
    if (reply.layers_done == 1) first_layer = absl::Now();
  }
  void OnTransferDone(Connection&, uint64_t, const absl::Status&) override {}
  void OnClosed(Connection&, const absl::Status& why) override { closed = why; }

  RawReply reply{};
  absl::Time first_layer;
  absl::Status closed;
};

absl::StatusOr<const Transport*> FindRawTransport(const std::string& name) {
  return FindTransport(name == "tls" ? "tcp" : name);
}

SharedKey RawKey() {
  return {"benchmark", std::string(32, 'k')};  // hides nothing
}

absl::StatusOr<std::unique_ptr<RawLoad>> RawLoad::Create(const std::string& transport_name, const RawShape& shape) {
  std::unique_ptr<RawLoad> load(new RawLoad);
  load->shape_ = shape;
  ASSIGN_OR_RETURN(const Transport* const transport, FindRawTransport(transport_name));
  ASSIGN_OR_RETURN(load->arena_, HostArena::Create("raw-client", shape.total_bytes()));
  std::string address = "127.0.0.1:0";
  if (transport_name == "local") address = absl::StrCat("/tmp/droidspeak-bench-", ::getpid(), ".sock");
  ASSIGN_OR_RETURN(const ServerProcess server, StartServer(transport_name, address, shape));
  load->server_ = server.pid;
  ASSIGN_OR_RETURN(load->worker_, transport->CreateWorker());
  load->events_ = std::make_unique<Events>();
  if (transport_name == "tls") {
    ASSIGN_OR_RETURN(load->connection_, load->worker_->ConnectEncrypted(server.address, RawKey(), load->events_.get()));
  } else {
    ASSIGN_OR_RETURN(load->connection_, load->worker_->Connect(server.address, load->events_.get()));
  }
  HostArena& arena = *load->arena_;
  RETURN_IF_ERROR(load->connection_->AnnounceRegion(1, {arena.base(), arena.bytes(), arena.fd()}));
  return load;
}

RawLoad::~RawLoad() {
  connection_.reset();
  worker_.reset();
  if (server_ <= 0) return;
  ::kill(server_, SIGTERM);
  ::waitpid(server_, nullptr, 0);
}

absl::StatusOr<RawTimes> RawLoad::Run(RawDirection direction) {
  events_->reply = {};
  const absl::Time start = absl::Now();
  const double cpu = OwnCpuSeconds();
  RETURN_IF_ERROR(connection_->Send(BytesOf(RawRequest{direction})));
  while (events_->reply.finished == 0 && events_->closed.ok()) {
    if (worker_->Progress() > 0) continue;
    if (absl::Now() - start > kPatience) return absl::DeadlineExceededError("the raw benchmark's server is silent");
    if (!worker_->Arm()) continue;
    pollfd fd{worker_->event_fd(), POLLIN, 0};
    ::poll(&fd, 1, 1000);
  }
  RETURN_IF_ERROR(events_->closed);
  RawTimes times;
  times.seconds = absl::ToDoubleSeconds(absl::Now() - start);
  times.first_layer_seconds = absl::ToDoubleSeconds(events_->first_layer - start);
  times.cpu_seconds = OwnCpuSeconds() - cpu + events_->reply.cpu_seconds;
  return times;
}

}  // namespace droidspeak::bench
