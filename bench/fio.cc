// SPDX-License-Identifier: Apache-2.0
#include "bench/fio.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/files.h"
#include "common/base/status.h"
#include "nlohmann/json.hpp"

extern char** environ;

namespace droidspeak::bench {
namespace {

absl::StatusOr<std::string> OutputOf(std::vector<std::string> arguments) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return ErrnoStatus(errno, "opening a pipe");
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
  pid_t pid = -1;
  const int error = ::posix_spawnp(&pid, argv[0], &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  ::close(ends[1]);
  std::string output;
  char buffer[4096];
  for (ssize_t got; error == 0 && (got = ::read(ends[0], buffer, sizeof(buffer))) > 0;) output.append(buffer, got);
  ::close(ends[0]);
  if (error == ENOENT) return absl::NotFoundError(absl::StrCat(arguments[0], " is not installed"));
  if (error != 0) return ErrnoStatus(error, absl::StrCat("starting ", arguments[0]));
  int status = 0;
  ::waitpid(pid, &status, 0);
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
    return absl::UnavailableError(absl::StrCat(arguments[0], " failed: ", output));
  }
  return output;
}

}  // namespace

absl::StatusOr<double> Fio(const FioJob& job) {
  const std::string direction = job.write ? "write" : "read";
  if (job.write) ::unlink(job.file.c_str());
  std::vector<std::string> arguments = {"fio",
                                        "--name=spill",
                                        "--filename=" + job.file,
                                        absl::StrCat("--size=", job.total_bytes),
                                        absl::StrCat("--bs=", job.request_bytes),
                                        absl::StrCat("--iodepth=", job.queue_depth),
                                        job.write ? "--rw=write" : "--rw=randread",
                                        "--direct=1",
                                        "--ioengine=libaio",
                                        "--output-format=json"};
  if (job.write) arguments.push_back("--end_fsync=1");
  ASSIGN_OR_RETURN(const std::string output, OutputOf(std::move(arguments)));
  const nlohmann::json result = nlohmann::json::parse(output, nullptr, /*allow_exceptions=*/false);
  const nlohmann::json::json_pointer bandwidth("/jobs/0/" + direction + "/bw_bytes");
  if (result.is_discarded() || !result.contains(bandwidth)) {
    return absl::UnavailableError(absl::StrCat("fio printed no result: ", output));
  }
  return result.at(bandwidth).get<double>();
}

}  // namespace droidspeak::bench
