// SPDX-License-Identifier: Apache-2.0
#include "tests/cacheserver/service/raw_client.h"

#include <gtest/gtest.h>
#include <poll.h>

#include <algorithm>
#include <utility>

#include "cacheserver/service/transport_choice.h"
#include "common/transport/hello.h"
#include "droidspeak/v1/control.grpc.pb.h"
#include "grpcpp/grpcpp.h"

namespace droidspeak {
namespace {

absl::Status FromGrpc(const grpc::Status& status) {
  return absl::Status(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
}

std::unique_ptr<v1::Control::Stub> StubOf(const std::string& listen) {
  return v1::Control::NewStub(grpc::CreateChannel(listen, grpc::InsecureChannelCredentials()));
}

SessionKey KeyFrom(const std::string& bytes) {
  SessionKey key{};
  std::copy_n(bytes.begin(), std::min(bytes.size(), key.size()), key.begin());
  return key;
}

}  // namespace

absl::StatusOr<RawSession> OpenRawSession(const std::string& listen, const std::string& transport,
                                          uint32_t protocol_version, const std::string& detail) {
  v1::OpenSessionRequest request;
  request.set_protocol_version(protocol_version);
  request.set_client_version("test 1");
  request.set_host_id(ReadHostId().value_or(""));
  v1::TransportOffer& offer = *request.add_transports();
  offer.set_name(transport);
  const absl::StatusOr<const Transport*> found = FindTransport(transport);
  offer.set_detail(detail.empty() && found.ok() ? (*found)->version() : detail);
  v1::OpenSessionResponse response;
  grpc::ClientContext context;
  const grpc::Status status = StubOf(listen)->OpenSession(&context, request, &response);
  if (!status.ok()) return FromGrpc(status);
  return RawSession{response.session_id(),   response.session_key(),       response.transport(),
                    response.data_address(), response.cluster_secret_id(), response.epoch()};
}

absl::StatusOr<RawNamespace> OpenRawNamespace(const std::string& listen, const RawSession& session,
                                              const std::string& layout, const std::string& weights_name) {
  v1::OpenNamespaceRequest request;
  request.set_session_id(session.id);
  request.set_session_key(session.key);
  request.set_weights(std::string(Sha256Of(weights_name).view()));
  request.set_layout(layout);
  v1::OpenNamespaceResponse response;
  grpc::ClientContext context;
  const grpc::Status status = StubOf(listen)->OpenNamespace(&context, request, &response);
  if (!status.ok()) return FromGrpc(status);
  RawNamespace opened;
  opened.id = response.namespace_id();
  std::copy_n(response.namespace_bytes().begin(), opened.bytes.bytes.size(), opened.bytes.bytes.begin());
  opened.layout = Layout::Parse(layout).value();
  return opened;
}

absl::Status CloseRawSession(const std::string& listen, const RawSession& session) {
  v1::CloseSessionRequest request;
  request.set_session_id(session.id);
  request.set_session_key(session.key);
  v1::CloseSessionResponse response;
  grpc::ClientContext context;
  return FromGrpc(StubOf(listen)->CloseSession(&context, request, &response));
}

absl::Status RawHeartbeat(const std::string& listen, const RawSession& session) {
  v1::HeartbeatRequest request;
  request.set_session_id(session.id);
  request.set_session_key(session.key);
  v1::HeartbeatResponse response;
  grpc::ClientContext context;
  return FromGrpc(StubOf(listen)->Heartbeat(&context, request, &response));
}

RawConnection::RawConnection(const RawSession& session, uint64_t region_bytes)
    : session_(session), arena_(HostArena::Create("test-client", region_bytes).value()) {
  worker_ = FindTransport(session.transport).value()->CreateWorker().value();
  connection_ = worker_->Connect(session.data_address, this).value();
}

RawConnection::~RawConnection() {
  connection_.reset();
}

bool RawConnection::Hello(std::optional<std::string> other_key) {
  ClientHandshake handshake(session_.id, 1, KeyFrom(other_key.value_or(session_.key)));
  SendBytes(handshake.Start());
  while (!handshake.done()) {
    if (!DriveUntil([this] { return closed_ || !received_.empty(); }) || received_.empty()) return false;
    const absl::StatusOr<std::vector<std::byte>> reply = handshake.Next(received_.front());
    received_.pop_front();
    if (!reply.ok()) return false;
    if (!reply->empty()) SendBytes(*reply);
  }
  return connection_->AnnounceRegion(kRegion, {arena_->base(), arena_->bytes(), arena_->fd()}).ok();
}

void RawConnection::SendBytes(absl::Span<const std::byte> bytes) {
  connection_->Send(bytes).IgnoreError();  // a closed connection shows in what is expected next
  worker_->Progress();                     // so that it goes out
}

void RawConnection::Close() {
  connection_->Close();
}

bool DriveUntil(Worker& worker, const std::function<bool()>& condition, absl::Duration limit) {
  const absl::Time deadline = absl::Now() + limit;
  while (!condition()) {
    if (worker.Progress() > 0) continue;
    if (absl::Now() > deadline) return false;
    if (!worker.Arm()) continue;
    pollfd fd = {worker.event_fd(), POLLIN, 0};
    poll(&fd, 1, 10);
  }
  return true;
}

bool RawConnection::DriveUntil(const std::function<bool()>& condition, absl::Duration limit) {
  return droidspeak::DriveUntil(*worker_, condition, limit);
}

std::optional<wire::Message> RawConnection::Next() {
  if (!DriveUntil([this] { return closed_ || !received_.empty(); }) || received_.empty()) return std::nullopt;
  absl::StatusOr<wire::Message> message = wire::Decode(received_.front());
  received_.pop_front();
  EXPECT_TRUE(message.ok()) << message.status();
  if (!message.ok()) return std::nullopt;
  return *std::move(message);
}

void RawConnection::OnMessage(Connection&, absl::Span<const std::byte> message) {
  received_.emplace_back(message.begin(), message.end());
}

void RawConnection::Unexpected(const std::optional<wire::Message>& message) const {
  if (!message.has_value()) {
    ADD_FAILURE() << (closed_ ? "the connection was closed" : "no message came");
    return;
  }
  std::string text;
  if (const auto* refused = std::get_if<wire::StatusAnswer>(&*message)) text = refused->text;
  if (const auto* done = std::get_if<wire::FetchDone>(&*message)) text = done->text;
  ADD_FAILURE() << "another message came, of type " << message->index() << " " << text;
}

}  // namespace droidspeak
