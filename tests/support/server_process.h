// SPDX-License-Identifier: Apache-2.0
// A real droidspeak-cacheserver process for tests.
#pragma once

#include <sys/types.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace droidspeak {

class ChildProcess;

// A folder that goes with the object.
class TemporaryFolder {
 public:
  TemporaryFolder();
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// Starts the program on loopback with ports from the kernel, and kills it at the end. Not thread-safe.
class ServerProcess {
 public:
  // `arguments` come after --name, --listen, --data, --admin, --local-socket and --json, and may override all but
  // --json.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<ServerProcess>> Start(const std::string& name,
                                                                            std::vector<std::string> arguments = {});
  ~ServerProcess();
  ServerProcess(const ServerProcess&) = delete;
  ServerProcess& operator=(const ServerProcess&) = delete;

  const std::string& listen() const { return listen_; }
  const std::string& data() const { return data_; }
  const std::string& admin() const { return admin_; }
  const std::string& local_socket() const { return local_socket_; }
  pid_t pid() const;

  // Sends a signal.
  void Signal(int signal) const;
  // SIGSTOP, and waits until no thread of it runs any more.
  void Suspend() const;
  // SIGKILL, and waits for the end.
  void Kill();
  // SIGTERM, and waits: the exit code, or -1 if a signal ended it.
  int Terminate();

 private:
  ServerProcess() = default;

  TemporaryFolder folder_;
  std::unique_ptr<ChildProcess> process_;
  std::string listen_, data_, admin_, local_socket_;
};

}  // namespace droidspeak
