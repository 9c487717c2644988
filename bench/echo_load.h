// SPDX-License-Identifier: Apache-2.0
// A message and its answer over a transport, between two processes: the bound that requests are measured against.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "bench/self_process.h"
#include "common/transport/transport.h"

namespace droidspeak::bench {

// The asking end, and the process of the answering one. Both sleep while they wait, as a client and a server do. Not
// thread-safe.
class EchoLoad {
 public:
  // Starts this program again as `echo-server`, and connects.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<EchoLoad>> Create(const std::string& transport);
  ~EchoLoad();
  EchoLoad(const EchoLoad&) = delete;
  EchoLoad& operator=(const EchoLoad&) = delete;

  // Sends `request_bytes` (at least 4) and waits for an answer of `answer_bytes`: seconds.
  [[nodiscard]] absl::StatusOr<double> Ask(uint32_t request_bytes, uint32_t answer_bytes);

 private:
  class Events;
  EchoLoad() = default;

  std::unique_ptr<SelfProcess> server_;
  std::string socket_path_;
  std::unique_ptr<Worker> worker_;
  std::unique_ptr<Events> events_;
  std::unique_ptr<Connection> connection_;
};

// The answering process: prints the address it is bound to, serves one peer and returns when that has gone.
[[nodiscard]] absl::Status ServeEcho(const std::string& transport, const std::string& address);

}  // namespace droidspeak::bench
