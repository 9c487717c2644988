// SPDX-License-Identifier: Apache-2.0
#include "client/src/link.h"

#include <algorithm>
#include <utility>
#include <variant>

#include "common/base/log.h"
#include "common/base/status.h"
#include "common/transport/session_tls_key.h"

namespace droidspeak {
namespace {

// Each session has one connection; a connection that was lost is followed by another session's.
constexpr uint32_t kConnection = 1;

// The request that a message answers, or 0.
uint64_t AnsweredRequest(const wire::Message& message) {
  return std::visit(
      [](const auto& alternative) -> uint64_t {
        if constexpr (requires { alternative.request_id; }) {
          return alternative.request_id;
        } else {
          return 0;
        }
      },
      message);
}

}  // namespace

Link::Link(Reactor& reactor, SessionInfo session, Introduce introduce,
           std::function<void(const absl::Status&)> on_closed)
    : reactor_(reactor),
      session_(std::move(session)),
      introduce_(std::move(introduce)),
      on_closed_(std::move(on_closed)),
      handshake_(session_.id, kConnection, session_.key) {}

void Link::Start(std::vector<std::shared_ptr<RegionMemory>> regions, std::function<void()> on_ready) {
  reactor_.Post([self = shared_from_this(), regions = std::move(regions), on_ready = std::move(on_ready)]() mutable {
    self->announced_ = std::move(regions);
    self->on_ready_ = std::move(on_ready);
    self->Connect();
  });
}

void Link::Connect() {
  if (ended_) return;
  Worker* const worker = reactor_.worker(session_.transport);
  if (worker == nullptr) {
    Ended(absl::InternalError(absl::StrCat("no worker for transport '", session_.transport, "'")));
    return;
  }
  absl::StatusOr<std::unique_ptr<Connection>> connection = ConnectBy(*worker);
  if (!connection.ok()) {
    Ended(connection.status());
    return;
  }
  connection_ = *std::move(connection);
  self_ = shared_from_this();
  const absl::Status sent = connection_->Send(handshake_.Start());
  if (!sent.ok()) GiveUp(sent);
}

absl::StatusOr<std::unique_ptr<Connection>> Link::ConnectBy(Worker& worker) {
  if (session_.introduced) return worker.ConnectIntroduced(introduce_, this);
  if (!session_.encrypted) return worker.Connect(session_.address, this);
  return worker.ConnectEncrypted(session_.address, TlsKeyOf(session_.id, session_.key), this);
}

void Link::Submit(uint64_t id, std::shared_ptr<Pending> pending, const wire::Message& message) {
  reactor_.Post([self = shared_from_this(), id, pending = std::move(pending), bytes = wire::Encode(message)] {
    if (!self->live()) {
      pending->OnLost(absl::UnavailableError("the connection is closed"));
      return;
    }
    if (const absl::Status sent = self->connection_->Send(bytes); !sent.ok()) {
      pending->OnLost(sent);
      return;
    }
    self->pending_.emplace(id, pending);
  });
}

void Link::Send(const wire::Message& message) {
  reactor_.Post([self = shared_from_this(), bytes = wire::Encode(message)] {
    if (!self->live()) return;
    if (const absl::Status sent = self->connection_->Send(bytes); !sent.ok()) self->GiveUp(sent);
  });
}

void Link::Announce(std::shared_ptr<RegionMemory> memory) {
  reactor_.Post([self = shared_from_this(), memory = std::move(memory)] {
    const bool known = std::find(self->announced_.begin(), self->announced_.end(), memory) != self->announced_.end();
    if (self->ended_ || known) return;
    self->announced_.push_back(memory);
    if (!self->live()) return;  // announced with the others once the hello has passed
    const absl::Status announced = self->connection_->AnnounceRegion(memory->id(), memory->memory());
    if (!announced.ok()) self->GiveUp(announced);
  });
}

void Link::Withdraw(uint32_t region) {
  reactor_.Post([self = shared_from_this(), region] {
    const auto found = std::find_if(self->announced_.begin(), self->announced_.end(),
                                    [&](const auto& memory) { return memory->id() == region; });
    if (found == self->announced_.end()) return;
    self->announced_.erase(found);
    if (!self->live()) return;
    if (const absl::Status withdrawn = self->connection_->WithdrawRegion(region); !withdrawn.ok()) {
      self->GiveUp(withdrawn);
    }
  });
}

void Link::Close(const absl::Status& why) {
  reactor_.Post([self = shared_from_this(), why] { self->GiveUp(why); });
}

void Link::GiveUp(const absl::Status& why) {
  if (ended_ || given_up_) return;
  given_up_ = why;
  live_.store(false, std::memory_order_release);
  for (auto& [id, pending] : pending_) pending->OnGivenUp(why);
  if (connection_ != nullptr) connection_->Close();
}

void Link::Drop() {
  Disconnect();
  Ended(absl::CancelledError("the client is closing"));
}

void Link::Disconnect() {
  connection_.reset();
  self_.reset();  // the caller holds another
}

void Link::OnMessage(Connection&, absl::Span<const std::byte> bytes) {
  if (given_up_) return;
  const absl::Status handled = Handle(bytes);
  if (handled.ok()) return;
  spdlog::warn("server {}: {}; closing the connection", session_.server_name, std::string(handled.message()));
  GiveUp(handled);
}

absl::Status Link::Handle(absl::Span<const std::byte> bytes) {
  if (!live()) {
    ASSIGN_OR_RETURN(const std::vector<std::byte> reply, handshake_.Next(bytes));
    if (!reply.empty()) RETURN_IF_ERROR(connection_->Send(reply));
    return handshake_.done() ? BecomeLive() : absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const wire::Message message, wire::Decode(bytes));
  const auto found = pending_.find(AnsweredRequest(message));
  if (found == pending_.end()) return absl::OkStatus();  // of a request that was refused or has ended
  const std::shared_ptr<Pending> pending = found->second;
  if (pending->OnAnswer(message)) pending_.erase(AnsweredRequest(message));
  return absl::OkStatus();
}

absl::Status Link::BecomeLive() {
  for (const auto& memory : announced_) {
    RETURN_IF_ERROR(connection_->AnnounceRegion(memory->id(), memory->memory()));
  }
  live_.store(true, std::memory_order_release);
  on_ready_();
  return absl::OkStatus();
}

void Link::OnClosed(Connection&, const absl::Status& why) {
  // The connection must outlive its event handler.
  reactor_.Post([self = shared_from_this()] { self->Disconnect(); });
  if (given_up_) return Ended(*given_up_);
  Ended(why.ok() ? absl::UnavailableError("the server closed the connection") : why);
}

void Link::Ended(const absl::Status& why) {
  if (std::exchange(ended_, true)) return;
  live_.store(false, std::memory_order_release);
  announced_.clear();
  auto lost = std::exchange(pending_, {});
  for (auto& [id, pending] : lost) pending->OnLost(why);
  on_closed_(why);
}

}  // namespace droidspeak
