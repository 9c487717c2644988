// SPDX-License-Identifier: Apache-2.0
// `droidspeak-bench echo-server`: the answering process of an echo.
#include <iostream>

#include "bench/command.h"
#include "bench/echo_load.h"

namespace droidspeak::bench {

Command AddEchoServerCommand(CLI::App& app) {
  struct Options {
    std::string transport;
    std::string address;
  };
  CLI::App* const command = app.add_subcommand("echo-server", "The answering process of an echo");
  command->group("");                 // not for people
  auto* const options = new Options;  // lives as long as the program
  command->add_option("--transport", options->transport)->required();
  command->add_option("--address", options->address)->required();
  return {command, [options] {
            const absl::Status served = ServeEcho(options->transport, options->address);
            if (served.ok()) return kExitOk;
            std::cerr << "echo-server: " << served << "\n";
            return kExitFailed;
          }};
}

}  // namespace droidspeak::bench
