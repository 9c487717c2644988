// SPDX-License-Identifier: Apache-2.0
#include "bench/echo_load.h"

#include <poll.h>
#include <unistd.h>

#include <cstring>
#include <iostream>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/status.h"
#include "common/transport/introduced_transport.h"

namespace droidspeak::bench {
namespace {

constexpr int kPatienceMs = 10'000;

// Handles what there is, or sleeps until there is something. False when there was nothing for too long.
bool Step(Worker& worker, int patience_ms) {
  if (worker.Progress() > 0 || !worker.Arm()) return true;
  pollfd fd{worker.event_fd(), POLLIN, 0};
  return ::poll(&fd, 1, patience_ms) != 0;
}

// Answers each message with as many bytes as its first four say.
class Answers final : public ConnectionEvents {
 public:
  void OnMessage(Connection& connection, absl::Span<const std::byte> message) override {
    uint32_t bytes = 0;
    if (message.size() < sizeof bytes) return connection.Close();
    std::memcpy(&bytes, message.data(), sizeof bytes);
    if (bytes > kMaxMessageBytes) return connection.Close();
    answer_.resize(bytes);
    if (!connection.Send(answer_).ok()) connection.Close();
  }
  void OnTransferDone(Connection&, uint64_t, const absl::Status&) override {}
  void OnClosed(Connection&, const absl::Status&) override { closed = true; }
  bool closed = false;

 private:
  std::vector<std::byte> answer_;
};

}  // namespace

class EchoLoad::Events final : public ConnectionEvents {
 public:
  void OnMessage(Connection&, absl::Span<const std::byte> message) override { answered_bytes = message.size(); }
  void OnTransferDone(Connection&, uint64_t, const absl::Status&) override {}
  void OnClosed(Connection&, const absl::Status& why) override {
    closed = why.ok() ? absl::UnavailableError("the echo server has gone") : why;
  }
  size_t answered_bytes = 0;
  absl::Status closed;
};

absl::StatusOr<std::unique_ptr<EchoLoad>> EchoLoad::Create(const std::string& transport_name) {
  std::unique_ptr<EchoLoad> load(new EchoLoad);
  ASSIGN_OR_RETURN(const Transport* const transport, FindTransportByAddress(transport_name));
  std::string address = "127.0.0.1:0";
  if (transport_name == "local") {
    address = load->socket_path_ = absl::StrCat("/tmp/droidspeak-echo-", ::getpid(), ".sock");
  }
  ASSIGN_OR_RETURN(load->server_,
                   SelfProcess::Start({"echo-server", "--transport", transport_name, "--address", address}));
  ASSIGN_OR_RETURN(load->worker_, transport->CreateWorker());
  load->events_ = std::make_unique<Events>();
  ASSIGN_OR_RETURN(load->connection_, load->worker_->Connect(load->server_->first_line(), load->events_.get()));
  return load;
}

EchoLoad::~EchoLoad() {
  connection_.reset();
  worker_.reset();
  if (!socket_path_.empty()) ::unlink(socket_path_.c_str());
}

absl::StatusOr<double> EchoLoad::Ask(uint32_t request_bytes, uint32_t answer_bytes) {
  std::vector<std::byte> request(request_bytes);
  std::memcpy(request.data(), &answer_bytes, sizeof answer_bytes);
  events_->answered_bytes = 0;
  const absl::Time start = absl::Now();
  RETURN_IF_ERROR(connection_->Send(request));
  while (events_->answered_bytes == 0 && events_->closed.ok()) {
    if (!Step(*worker_, kPatienceMs)) return absl::DeadlineExceededError("the echo server is silent");
  }
  RETURN_IF_ERROR(events_->closed);
  return absl::ToDoubleSeconds(absl::Now() - start);
}

absl::Status ServeEcho(const std::string& transport_name, const std::string& address) {
  ASSIGN_OR_RETURN(const Transport* const transport, FindTransportByAddress(transport_name));
  ASSIGN_OR_RETURN(const auto worker, transport->CreateWorker());
  Answers answers;
  std::unique_ptr<Connection> connection;
  ASSIGN_OR_RETURN(const std::string bound, worker->Listen(address, [&](std::unique_ptr<Connection> accepted) {
    if (connection != nullptr) return static_cast<Answers*>(nullptr);
    connection = std::move(accepted);
    connection->Authorize();
    return &answers;
  }));
  std::cout << bound << std::endl;
  while (!answers.closed) Step(*worker, -1);
  connection.reset();
  return absl::OkStatus();
}

}  // namespace droidspeak::bench
