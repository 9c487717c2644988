// SPDX-License-Identifier: Apache-2.0
#include "bench/ucx_perftest.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
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

// Starts `ucx_perftest` with `arguments`, restricted to what the `ucx` transport uses; its output goes to `out`.
absl::StatusOr<pid_t> Start(std::vector<std::string> arguments, int out) {
  arguments.insert(arguments.begin(), "ucx_perftest");
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  std::vector<std::string> settings = {"UCX_TLS=tcp", "UCX_NET_DEVICES=lo"};
  std::vector<char*> environment;
  for (std::string& setting : settings) environment.push_back(setting.data());
  for (char** variable = environ; *variable != nullptr; ++variable) environment.push_back(*variable);
  environment.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, out, STDERR_FILENO);
  pid_t pid = -1;
  const int error = ::posix_spawnp(&pid, "ucx_perftest", &actions, nullptr, argv.data(), environment.data());
  posix_spawn_file_actions_destroy(&actions);
  if (error == ENOENT) return absl::NotFoundError("ucx_perftest is not installed");
  if (error != 0) return ErrnoStatus(error, "starting ucx_perftest");
  return pid;
}

// Whether something listens at a port of this host.
bool Listens(int port) {
  // Looks instead of connecting, which ucx_perftest would take for its client.
  const auto table = ReadFile("/proc/net/tcp", 1 << 24);
  if (!table.ok()) return false;
  const std::string wanted = absl::StrCat(":", absl::Hex(port, absl::kZeroPad4), " 00000000:0000 0A");
  const std::string upper = absl::AsciiStrToUpper(wanted);
  return table->find(upper) != std::string::npos;
}

// The last line of numbers: "[thread] iterations …, overall bandwidth in MB/s is the sixth".
absl::StatusOr<double> ParseBandwidth(const std::string& output) {
  std::vector<std::string> lines = absl::StrSplit(output, '\n', absl::SkipWhitespace());
  for (auto line = lines.rbegin(); line != lines.rend(); ++line) {
    const std::vector<std::string> fields = absl::StrSplit(*line, ' ', absl::SkipWhitespace());
    double megabytes;
    if (fields.size() == 8 && absl::SimpleAtod(fields[5], &megabytes)) return megabytes * (1 << 20);
  }
  return absl::InternalError(absl::StrCat("ucx_perftest printed no result: ", output));
}

}  // namespace

absl::StatusOr<double> UcxPerftest(const std::string& test, uint64_t message_bytes, uint64_t total_bytes) {
  ASSIGN_OR_RETURN(const int port, FreePort());
  const int null = ::open("/dev/null", O_WRONLY | O_CLOEXEC);
  const absl::Cleanup close_null = [null] { ::close(null); };
  ASSIGN_OR_RETURN(const pid_t server, Start({"-p", absl::StrCat(port)}, null));
  const absl::Cleanup stop = [server] {
    ::kill(server, SIGKILL);
    ::waitpid(server, nullptr, 0);
  };
  const absl::Time limit = absl::Now() + absl::Seconds(10);
  while (!Listens(port)) {
    if (absl::Now() > limit) return absl::UnavailableError("ucx_perftest does not listen");
    absl::SleepFor(absl::Milliseconds(10));
  }
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return ErrnoStatus(errno, "opening a pipe");
  const uint64_t messages = std::max<uint64_t>(10, total_bytes / message_bytes);
  const auto client = Start({"127.0.0.1", "-p", absl::StrCat(port), "-t", test, "-s", absl::StrCat(message_bytes), "-n",
                             absl::StrCat(messages), "-w", "10", "-f"},
                            ends[1]);
  ::close(ends[1]);
  std::string output;
  char buffer[4096];
  for (ssize_t got; client.ok() && (got = ::read(ends[0], buffer, sizeof(buffer))) > 0;) output.append(buffer, got);
  ::close(ends[0]);
  RETURN_IF_ERROR(client.status());
  ::waitpid(*client, nullptr, 0);
  return ParseBandwidth(output);
}

}  // namespace droidspeak::bench
