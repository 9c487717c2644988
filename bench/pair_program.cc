// SPDX-License-Identifier: Apache-2.0
#include "bench/pair_program.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/files.h"
#include "common/base/status.h"

extern char** environ;

namespace droidspeak::bench {
namespace {

// A port that was free a moment ago.
absl::StatusOr<int> FreePort() {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const absl::Cleanup close = [fd] { ::close(fd); };
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t bytes = sizeof(address);
  if (::bind(fd, reinterpret_cast<sockaddr*>(&address), bytes) != 0 ||
      ::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &bytes) != 0) {
    return ErrnoStatus(errno, "looking for a free port");
  }
  return ntohs(address.sin_port);
}

// Starts the program; its output goes to `out`.
absl::StatusOr<pid_t> Start(const PairProgram& pair, std::vector<std::string> arguments, int port, int out) {
  std::vector<char*> argv = {const_cast<char*>(pair.program.c_str())};
  for (std::string& argument : arguments) {
    if (argument == "PORT") argument = absl::StrCat(port);
    argv.push_back(argument.data());
  }
  argv.push_back(nullptr);
  std::vector<char*> environment;
  for (const std::string& setting : pair.environment) environment.push_back(const_cast<char*>(setting.c_str()));
  for (char** variable = environ; *variable != nullptr; ++variable) environment.push_back(*variable);
  environment.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, out, STDERR_FILENO);
  pid_t pid = -1;
  const int error = ::posix_spawnp(&pid, argv[0], &actions, nullptr, argv.data(), environment.data());
  posix_spawn_file_actions_destroy(&actions);
  if (error == ENOENT) return absl::NotFoundError(absl::StrCat(pair.program, " is not installed"));
  if (error != 0) return ErrnoStatus(error, absl::StrCat("starting ", pair.program));
  return pid;
}

// Whether something listens at a port of this host.
bool Listens(int port) {
  // Looks instead of connecting, which the program would take for its client.
  const std::string wanted = absl::AsciiStrToUpper(absl::StrCat(":", absl::Hex(port, absl::kZeroPad4), " "));
  for (const char* const name : {"/proc/net/tcp", "/proc/net/tcp6"}) {
    const absl::StatusOr<std::string> table = ReadFile(name, 1 << 24);
    if (!table.ok()) continue;
    for (size_t at = table->find(wanted); at != std::string::npos; at = table->find(wanted, at + 1)) {
      const size_t state = table->find(' ', at + wanted.size());  // after the other end's address
      if (table->compare(state, 4, " 0A ") == 0) return true;
    }
  }
  return false;
}

}  // namespace

absl::StatusOr<std::string> OutputOf(const PairProgram& pair) {
  ASSIGN_OR_RETURN(const int port, FreePort());
  const int null = ::open("/dev/null", O_WRONLY | O_CLOEXEC);
  const absl::Cleanup close_null = [null] { ::close(null); };
  ASSIGN_OR_RETURN(const pid_t server, Start(pair, pair.server, port, null));
  const absl::Cleanup stop = [server] {
    ::kill(server, SIGKILL);
    ::waitpid(server, nullptr, 0);
  };
  const absl::Time limit = absl::Now() + absl::Seconds(10);
  while (!Listens(port)) {
    if (absl::Now() > limit) return absl::UnavailableError(absl::StrCat(pair.program, " does not listen"));
    absl::SleepFor(absl::Milliseconds(10));
  }
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return ErrnoStatus(errno, "opening a pipe");
  const absl::StatusOr<pid_t> client = Start(pair, pair.client, port, ends[1]);
  ::close(ends[1]);
  std::string output;
  char buffer[4096];
  for (ssize_t got; client.ok() && (got = ::read(ends[0], buffer, sizeof(buffer))) > 0;) output.append(buffer, got);
  ::close(ends[0]);
  RETURN_IF_ERROR(client.status());
  ::waitpid(*client, nullptr, 0);
  return output;
}

}  // namespace droidspeak::bench
