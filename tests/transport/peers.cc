// SPDX-License-Identifier: Apache-2.0
#include "tests/transport/peers.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <random>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "tests/transport/find_tested.h"

extern char** environ;

namespace droidspeak {

std::string TextOf(absl::Span<const std::byte> bytes) {
  return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

absl::Span<const std::byte> BytesOf(const std::string& text) {
  return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}

std::string Pattern(uint64_t seed, size_t bytes) {
  std::string text(bytes, '\0');
  uint64_t state = seed * 0x9e3779b97f4a7c15u + 1;
  for (size_t i = 0; i < bytes; i += 8) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    const uint64_t word = state ^ (state >> 29);
    text.replace(i, std::min<size_t>(8, bytes - i), reinterpret_cast<const char*>(&word),
                 std::min<size_t>(8, bytes - i));
  }
  return text;
}

void Recorder::OnMessage(Connection& connection, absl::Span<const std::byte> message) {
  EXPECT_FALSE(closed.has_value()) << "message after OnClosed";
  messages.push_back(TextOf(message));
  if (on_message) on_message(connection, messages.back());
}

void Recorder::OnTransferDone(Connection& connection, uint64_t token, const absl::Status& status) {
  EXPECT_FALSE(closed.has_value()) << "transfer after OnClosed";
  EXPECT_TRUE(done.emplace(token, status).second) << "token " << token << " reported twice";
  if (on_done) on_done(connection, token);
}

void Recorder::OnClosed(Connection&, const absl::Status& why) {
  EXPECT_FALSE(closed.has_value()) << "OnClosed twice";
  EXPECT_FALSE(why.ok());
  closed = why;
}

PeerProcess::PeerProcess(const std::vector<std::string>& arguments) {
  int pipe_ends[2];
  EXPECT_EQ(::pipe2(pipe_ends, O_CLOEXEC), 0);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, pipe_ends[1], STDOUT_FILENO);
  std::string program = TRANSPORT_PEER;
  std::vector<char*> argv = {program.data()};
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  EXPECT_EQ(::posix_spawn(&pid_, program.c_str(), &actions, nullptr, argv.data(), environ), 0);
  posix_spawn_file_actions_destroy(&actions);
  ::close(pipe_ends[1]);
  out_ = pipe_ends[0];
}

PeerProcess::~PeerProcess() {
  if (pid_ > 0) Kill();
  ::close(out_);
}

void PeerProcess::Kill() {
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
  pid_ = -1;
}

std::string PeerProcess::ReadLine() {
  std::string line;
  char c;
  while (::read(out_, &c, 1) == 1 && c != '\n') line.push_back(c);
  return line;
}

std::string TransportTest::ListenAddress() const {
  if (GetParam() != "local") return "127.0.0.1:0";
  return absl::StrCat(testing::TempDir(), "/droidspeak-", ::getpid(), ".sock");
}

void TransportTest::SetUp() {
  auto found = FindTestedTransport(GetParam());
  ASSERT_TRUE(found.ok()) << found.status();
  transport_ = *found;
  for (auto* arena : {&server_arena_, &client_arena_}) {
    auto created = HostArena::Create("transport-test", kArenaBytes);
    ASSERT_TRUE(created.ok()) << created.status();
    *arena = *std::move(created);
  }
  for (auto* worker : {&server_worker_, &client_worker_}) {
    auto created = transport_->CreateWorker();
    ASSERT_TRUE(created.ok()) << created.status();
    *worker = *std::move(created);
  }
  ASSERT_TRUE(server_worker_->Register({server_arena_->base(), server_arena_->bytes(), server_arena_->fd()}).ok());
  auto bound =
      server_worker_->Listen(ListenAddress(), [this](std::unique_ptr<Connection> connection) -> ConnectionEvents* {
        if (refuse_) return nullptr;
        if (authorize_) connection->Authorize();
        accepted_.push_back(std::move(connection));
        return accept_events_ ? accept_events_() : &server_;
      });
  ASSERT_TRUE(bound.ok()) << bound.status();
  address_ = *bound;
}

void TransportTest::TearDown() {
  connection_.reset();
  accepted_.clear();
}

bool TransportTest::RunUntil(const std::function<bool()>& condition) {
  const absl::Time limit = absl::Now() + absl::Minutes(1);
  while (!condition()) {
    if (absl::Now() > limit) return false;
    if (server_worker_->Progress() + client_worker_->Progress() > 0) continue;
    if (!server_worker_->Arm() || !client_worker_->Arm()) continue;
    // A wakeup that gets lost costs a whole second, which a test with many of them would not survive.
    pollfd fds[2] = {{server_worker_->event_fd(), POLLIN, 0}, {client_worker_->event_fd(), POLLIN, 0}};
    ::poll(fds, 2, 1000);
  }
  return true;
}

void TransportTest::ConnectBoth() {
  const size_t before = accepted_.size();
  auto connected = client_worker_->Connect(address_, &client_);
  ASSERT_TRUE(connected.ok()) << connected.status();
  connection_ = *std::move(connected);
  ASSERT_TRUE(RunUntil([&] { return accepted_.size() > before; }));
}

void TransportTest::ConnectWithRegion() {
  ASSERT_NO_FATAL_FAILURE(ConnectBoth());
  const absl::Status announced = connection_->AnnounceRegion(1, ClientRegion());
  ASSERT_TRUE(announced.ok()) << announced;
  ASSERT_TRUE(connection_->Send(BytesOf("announced")).ok());
  ASSERT_TRUE(RunUntil([&] { return !server_.messages.empty(); }));
  server_.messages.clear();
}

}  // namespace droidspeak
