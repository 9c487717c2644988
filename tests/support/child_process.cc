// SPDX-License-Identifier: Apache-2.0
#include "tests/support/child_process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace droidspeak {
namespace {

// Of util-linux. Ends the program with the thread that started it, however that ends; posix_spawn can't ask for that,
// and fork would copy the pages that devices write to.
constexpr char kBefore[] = "/usr/bin/setpriv --pdeathsig KILL --";
constexpr int kStartLimitMs = 60'000;  // generous: sanitizers on a busy machine

// The first line that arrives on `fd`, or nothing when it closes or the limit passes.
std::string ReadLine(int fd) {
  std::string line;
  pollfd readable{.fd = fd, .events = POLLIN, .revents = 0};
  while (poll(&readable, 1, kStartLimitMs) == 1) {
    char byte = 0;
    if (read(fd, &byte, 1) != 1) return {};
    if (byte == '\n') return line;
    line.push_back(byte);
  }
  return {};
}

}  // namespace

absl::StatusOr<std::unique_ptr<ChildProcess>> ChildProcess::Start(std::vector<std::string> command) {
  const std::string program = command[0];
  const std::vector<std::string> before = absl::StrSplit(kBefore, ' ');
  command.insert(command.begin(), before.begin(), before.end());
  std::vector<char*> argv;
  for (std::string& argument : command) argv.push_back(argument.data());
  argv.push_back(nullptr);

  int out[2];
  if (pipe2(out, O_CLOEXEC) != 0) return absl::InternalError("pipe2 failed");
  std::unique_ptr<ChildProcess> child(new ChildProcess);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, out[1], STDOUT_FILENO);
  const int error = posix_spawn(&child->pid_, argv[0], &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  close(out[1]);
  const std::string line = error == 0 ? ReadLine(out[0]) : "";
  close(out[0]);
  if (error != 0) return absl::InternalError(absl::StrCat("cannot start ", command[0], ": ", std::strerror(error)));
  child->said_ = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (!child->said_.is_object()) {
    return absl::InternalError(absl::StrCat(program, " did not start; it said '", line, "'"));
  }
  return child;
}

ChildProcess::~ChildProcess() {
  Signal(SIGKILL);
  Wait();
}

void ChildProcess::Signal(int signal) const {
  if (pid_ > 0) kill(pid_, signal);
}

int ChildProcess::Wait() {
  if (pid_ <= 0) return -1;
  int status = 0;
  waitpid(std::exchange(pid_, -1), &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

}  // namespace droidspeak
