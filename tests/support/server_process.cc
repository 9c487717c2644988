// SPDX-License-Identifier: Apache-2.0
#include "tests/support/server_process.h"

#include <linux/magic.h>
#include <signal.h>
#include <sys/vfs.h>
#include <sys/wait.h>

#include <cstdlib>
#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status.h"
#include "tests/support/child_process.h"

namespace droidspeak {
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
  std::vector<std::string> all = {absl::StrCat(DROIDSPEAK_BIN, "/droidspeak-cacheserver"),
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
  ASSIGN_OR_RETURN(server->process_, ChildProcess::Start(std::move(all)));
  const nlohmann::json& said = server->process_->said();
  server->listen_ = said.value("listen", "");
  server->data_ = said.value("data", "");
  server->admin_ = said.value("admin", "");
  server->local_socket_ = said.value("local_socket", "");
  return server;
}

ServerProcess::~ServerProcess() = default;

pid_t ServerProcess::pid() const {
  return process_->pid();
}

void ServerProcess::Signal(int signal) const {
  process_->Signal(signal);
}

void ServerProcess::Suspend() const {
  Signal(SIGSTOP);
  int status = 0;
  waitpid(pid(), &status, WUNTRACED);
}

void ServerProcess::Kill() {
  Signal(SIGKILL);
  process_->Wait();
}

int ServerProcess::Terminate() {
  Signal(SIGTERM);
  return process_->Wait();
}

}  // namespace droidspeak
