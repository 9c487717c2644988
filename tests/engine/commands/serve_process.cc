// SPDX-License-Identifier: Apache-2.0
#include "tests/engine/commands/serve_process.h"

#include <signal.h>

#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "common/base/status.h"

namespace droidspeak {

absl::StatusOr<std::unique_ptr<ServeProcess>> ServeProcess::Start(std::vector<std::string> arguments) {
  // Tiny tensors gain nothing from more threads, and those of tests that run side by side wait for each other.
  std::vector<std::string> command = {"/usr/bin/env",
                                      "OMP_NUM_THREADS=1",
                                      absl::StrCat(DROIDSPEAK_BIN, "/droidspeak-engine"),
                                      "--log-level=warn",
                                      "serve",
                                      "--json",
                                      "--http=127.0.0.1:0",
                                      "--dtype=fp32"};
  for (std::string& argument : arguments) command.push_back(std::move(argument));
  ASSIGN_OR_RETURN(std::unique_ptr<ChildProcess> process, ChildProcess::Start(std::move(command)));
  return absl::WrapUnique(new ServeProcess(std::move(process)));
}

ServeProcess::ServeProcess(std::unique_ptr<ChildProcess> process)
    : process_(std::move(process)),
      address_(process_->said().value("http", "")),
      model_(process_->said().value("model", "")),
      max_tokens_(process_->said().value("max_tokens", int64_t{0})) {}

int ServeProcess::Terminate() {
  Signal(SIGTERM);
  return Wait();
}

}  // namespace droidspeak
