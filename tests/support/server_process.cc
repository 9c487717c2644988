// SPDX-License-Identifier: Apache-2.0
#include "tests/support/server_process.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"

extern char** environ;

namespace droidspeak {
namespace {

constexpr int kStartLimitMs = 60'000;  // generous: sanitizers on a busy machine

// The first line that arrives on `fd`, or nothing when it closes or the limit passes.
std::string ReadLine(int fd) {
  std::string line;
  pollfd poll_fd = {fd, POLLIN, 0};
  while (poll(&poll_fd, 1, kStartLimitMs) == 1) {
    char byte = 0;
    if (read(fd, &byte, 1) != 1) return {};
    if (byte == '\n') return line;
    line.push_back(byte);
  }
  return {};
}

}  // namespace

TemporaryFolder::TemporaryFolder() {
  // On a disk, since a server refuses to spill into memory.
  struct statfs found {};
  std::filesystem::path base = std::filesystem::temp_directory_path();
  if (statfs(base.c_str(), &found) == 0 && found.f_type == TMPFS_MAGIC) base = "/var/tmp";
  std::string pattern = (base / "droidspeak-test-XXXXXX").string();
  path_ = mkdtemp(pattern.data());
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

absl::StatusOr<std::unique_ptr<ServerProcess>> ServerProcess::Start(const std::string& name,
                                                                    std::vector<std::string> arguments) {
  std::unique_ptr<ServerProcess> server(new ServerProcess);
  std::vector<std::string> all = {DROIDSPEAK_BIN "/droidspeak-cacheserver",
                                  "--json",
                                  "--name=" + name,
                                  "--listen=127.0.0.1:0",
                                  "--data=127.0.0.1:0",
                                  "--admin=127.0.0.1:0",
                                  "--local-socket=" + server->folder_.path() + "/socket",
                                  "--log-level=warn"};
  for (std::string& argument : arguments) {
    // A flag given twice is an error: the caller's replaces ours.
    const std::string flag = argument.substr(0, argument.find('=') + 1);
    std::erase_if(all, [&](const std::string& other) { return !flag.empty() && other.rfind(flag, 0) == 0; });
    all.push_back(std::move(argument));
  }
  std::vector<char*> argv;
  for (std::string& argument : all) argv.push_back(argument.data());
  argv.push_back(nullptr);

  int out[2];
  if (pipe2(out, O_CLOEXEC) != 0) return absl::InternalError("pipe2 failed");
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, out[1], STDOUT_FILENO);
  const int error = posix_spawn(&server->pid_, argv[0], &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  close(out[1]);
  const std::string line = error == 0 ? ReadLine(out[0]) : "";
  close(out[0]);
  if (error != 0) return absl::InternalError(absl::StrCat("cannot start ", all[0], ": error ", error));
  const nlohmann::json started = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (!started.is_object()) return absl::InternalError(absl::StrCat("the server did not start; it said '", line, "'"));
  server->listen_ = started.value("listen", "");
  server->data_ = started.value("data", "");
  server->admin_ = started.value("admin", "");
  server->local_socket_ = started.value("local_socket", "");
  return server;
}

ServerProcess::~ServerProcess() {
  Kill();
}

void ServerProcess::Signal(int signal) const {
  if (pid_ > 0) kill(pid_, signal);
}

void ServerProcess::Suspend() const {
  Signal(SIGSTOP);
  int status = 0;
  waitpid(pid_, &status, WUNTRACED);
}

void ServerProcess::Kill() {
  Signal(SIGKILL);
  Reap();
}

int ServerProcess::Terminate() {
  Signal(SIGTERM);
  return Reap();
}

int ServerProcess::Reap() {
  if (pid_ <= 0) return -1;
  int status = 0;
  waitpid(std::exchange(pid_, -1), &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

}  // namespace droidspeak
