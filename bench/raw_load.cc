// SPDX-License-Identifier: Apache-2.0
#include "bench/raw_load.h"

#include <poll.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "bench/raw_messages.h"
#include "common/base/status.h"
#include "common/transport/introduced_transport.h"

namespace droidspeak::bench {
namespace {

constexpr absl::Duration kPatience = absl::Seconds(120);

}  // namespace

// Notes the server's replies.
class RawLoad::Events final : public ConnectionEvents {
 public:
  void OnMessage(Connection& connection, absl::Span<const std::byte> message) override {
    if (!ReadAs(message, reply)) return connection.Close();
    if (reply.layers_done == 1) first_layer = absl::Now();
  }
  void OnTransferDone(Connection&, uint64_t, const absl::Status&) override {}
  void OnClosed(Connection&, const absl::Status& why) override { closed = why; }

  RawReply reply{};
  absl::Time first_layer;
  absl::Status closed;
};

absl::StatusOr<const Transport*> FindRawTransport(const std::string& name) {
  return FindTransportByAddress(name == "tls" ? "tcp" : name);
}

SharedKey RawKey() {
  return {"benchmark", std::string(32, 'k')};  // hides nothing
}

absl::StatusOr<std::unique_ptr<RawLoad>> RawLoad::Create(const std::string& transport_name, const RawShape& shape) {
  std::unique_ptr<RawLoad> load(new RawLoad);
  load->shape_ = shape;
  ASSIGN_OR_RETURN(const Transport* const transport, FindRawTransport(transport_name));
  ASSIGN_OR_RETURN(load->arena_, HostArena::Create("raw-client", shape.total_bytes()));
  std::string address = "127.0.0.1:0";
  if (transport_name == "local") {
    address = load->socket_path_ = absl::StrCat("/tmp/droidspeak-bench-", ::getpid(), ".sock");
  }
  ASSIGN_OR_RETURN(load->server_,
                   SelfProcess::Start({"raw-server", "--transport", transport_name, "--address", address, "--extent",
                                       absl::StrCat(shape.extent_bytes), "--blocks", absl::StrCat(shape.blocks),
                                       "--layers", absl::StrCat(shape.layers)}));
  ASSIGN_OR_RETURN(load->worker_, transport->CreateWorker());
  load->events_ = std::make_unique<Events>();
  if (transport_name == "tls") {
    ASSIGN_OR_RETURN(load->connection_,
                     load->worker_->ConnectEncrypted(load->server_->first_line(), RawKey(), load->events_.get()));
  } else {
    ASSIGN_OR_RETURN(load->connection_, load->worker_->Connect(load->server_->first_line(), load->events_.get()));
  }
  HostArena& arena = *load->arena_;
  RETURN_IF_ERROR(load->connection_->AnnounceRegion(1, {arena.base(), arena.bytes(), arena.fd()}));
  return load;
}

RawLoad::~RawLoad() {
  connection_.reset();
  worker_.reset();
  if (socket_path_.empty()) return;
  ::unlink(socket_path_.c_str());
}

absl::StatusOr<RawTimes> RawLoad::Run(RawDirection direction) {
  events_->reply = {};
  const absl::Time start = absl::Now();
  const double cpu = OwnCpuSeconds();
  RETURN_IF_ERROR(connection_->Send(BytesOf(RawRequest{direction})));
  while (events_->reply.finished == 0 && events_->closed.ok()) {
    if (worker_->Progress() > 0) continue;
    if (absl::Now() - start > kPatience) return absl::DeadlineExceededError("the raw benchmark's server is silent");
    if (!worker_->Arm()) continue;
    pollfd fd{worker_->event_fd(), POLLIN, 0};
    ::poll(&fd, 1, 1000);
  }
  RETURN_IF_ERROR(events_->closed);
  RawTimes times;
  times.seconds = absl::ToDoubleSeconds(absl::Now() - start);
  times.first_layer_seconds = absl::ToDoubleSeconds(events_->first_layer - start);
  times.cpu_seconds = OwnCpuSeconds() - cpu + events_->reply.cpu_seconds;
  return times;
}

}  // namespace droidspeak::bench
