// SPDX-License-Identifier: Apache-2.0
#include "bench/self_process.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "common/base/files.h"

extern char** environ;

namespace droidspeak::bench {

absl::StatusOr<std::unique_ptr<SelfProcess>> SelfProcess::Start(const std::vector<std::string>& arguments) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return ErrnoStatus(errno, "opening a pipe");
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
  std::vector<std::string> all = {"/proc/self/exe"};
  all.insert(all.end(), arguments.begin(), arguments.end());
  std::vector<char*> argv;
  for (std::string& argument : all) argv.push_back(argument.data());
  argv.push_back(nullptr);
  pid_t pid = -1;
  const int error = ::posix_spawn(&pid, "/proc/self/exe", &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  ::close(ends[1]);
  std::unique_ptr<SelfProcess> process(error == 0 ? new SelfProcess(pid) : nullptr);
  char c;
  while (process != nullptr && ::read(ends[0], &c, 1) == 1 && c != '\n') process->first_line_.push_back(c);
  ::close(ends[0]);
  if (process == nullptr) return ErrnoStatus(error, absl::StrCat("starting ", arguments.front()));
  if (process->first_line_.empty()) return absl::UnavailableError(absl::StrCat(arguments.front(), " did not start"));
  return process;
}

SelfProcess::~SelfProcess() {
  Signal(SIGKILL);
  ::waitpid(pid_, nullptr, 0);
}

void SelfProcess::Signal(int signal) const {
  ::kill(pid_, signal);
}

}  // namespace droidspeak::bench
