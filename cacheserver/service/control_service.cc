// SPDX-License-Identifier: Apache-2.0
#include "cacheserver/service/control_service.h"

#include <atomic>
#include <chrono>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "cacheserver/service/caller.h"
#include "cacheserver/service/grpc_fields.h"
#include "common/base/log.h"
#include "common/base/status.h"
#include "common/key/block_hash.h"
#include "common/key/model_digest.h"
#include "common/tls/grpc_credentials.h"
#include "common/tls/grpc_log.h"
#include "common/transport/messages.h"
#include "droidspeak/v1/control.grpc.pb.h"
#include "grpcpp/grpcpp.h"
#include "grpcpp/resource_quota.h"

namespace droidspeak {
namespace {

// Requests are small and rare; what is larger or more than this is a mistake or an attack.
constexpr int kMaxMessageBytes = 64 * 1024;
constexpr int kMaxMetadataBytes = 16 * 1024;
constexpr int kMaxThreads = 16;
constexpr size_t kMaxGrpcBytes = 32 << 20;
constexpr int kMaxStreamsPerConnection = 32;
constexpr int kMinPingIntervalMs = 5000;
constexpr int kMaxTransportsOffered = 16;

}  // namespace

class ControlServer::Impl final : public v1::Control::Service {
 public:
  Impl(const ControlOptions& options, const ClusterSecret& secret, SessionTable& sessions, ExtentStore& store,
       ServiceMetrics& metrics)
      : options_(options),
        secret_(secret),
        sessions_(sessions),
        store_(store),
        metrics_(metrics),
        address_(options.listen),
        admin_(MakeAdminService({options.server_name, options.epoch, options.identity, sessions, store, metrics,
                                 options.state, *options.drained})) {}
  ~Impl() override { Stop(absl::ZeroDuration()); }

  absl::Status Start();
  void Drain() { draining_ = true; }
  void Stop(absl::Duration grace);
  const HostPort& address() const { return address_; }

  grpc::Status OpenSession(grpc::ServerContext* context, const v1::OpenSessionRequest* request,
                           v1::OpenSessionResponse* response) override {
    return Answer(DoOpenSession(*context, *request, *response));
  }
  grpc::Status OpenNamespace(grpc::ServerContext* context, const v1::OpenNamespaceRequest* request,
                             v1::OpenNamespaceResponse* response) override {
    return Answer(DoOpenNamespace(*context, *request, *response));
  }
  grpc::Status Introduce(grpc::ServerContext* context, const v1::IntroduceRequest* request,
                         v1::IntroduceResponse* response) override {
    return Answer(DoIntroduce(*context, *request, *response));
  }
  grpc::Status Heartbeat(grpc::ServerContext* context, const v1::HeartbeatRequest* request,
                         v1::HeartbeatResponse* response) override {
    const auto session = SessionOf(*context, *request);
    if (!session.ok()) return Answer(session.status());
    sessions_.Renew(**session, SteadyNow());
    response->set_lease_ms(LeaseMs());
    return grpc::Status::OK;
  }
  grpc::Status CloseSession(grpc::ServerContext* context, const v1::CloseSessionRequest* request,
                            v1::CloseSessionResponse*) override {
    const auto session = SessionOf(*context, *request);
    if (!session.ok()) return Answer(session.status());
    sessions_.Close(**session);
    return grpc::Status::OK;
  }

 private:
  absl::Status DoOpenSession(const grpc::ServerContext& context, const v1::OpenSessionRequest& request,
                             v1::OpenSessionResponse& response);
  absl::Status DoOpenNamespace(const grpc::ServerContext& context, const v1::OpenNamespaceRequest& request,
                               v1::OpenNamespaceResponse& response);
  absl::Status DoIntroduce(const grpc::ServerContext& context, const v1::IntroduceRequest& request,
                           v1::IntroduceResponse& response);
  // The session that a request names, if it is the caller's.
  template <typename Request>
  absl::StatusOr<std::shared_ptr<Session>> SessionOf(const grpc::ServerContext& context, const Request& request) const {
    ASSIGN_OR_RETURN(const Identity caller, IdentifyCaller(context, options_.identity.get()));
    return sessions_.Authenticate(request.session_id(), request.session_key(), caller.tenant);
  }
  std::shared_ptr<grpc::ServerCredentials> Credentials();
  uint32_t LeaseMs() const { return static_cast<uint32_t>(absl::ToInt64Milliseconds(sessions_.lease())); }
  grpc::Status Answer(const absl::Status& status) {
    if (!status.ok()) metrics_.Rejected(status.code());
    return ToGrpc(status);
  }

  const ControlOptions options_;
  const ClusterSecret& secret_;
  SessionTable& sessions_;
  ExtentStore& store_;
  ServiceMetrics& metrics_;
  HostPort address_;
  const std::unique_ptr<grpc::Service> admin_;
  std::atomic<bool> draining_{false};
  std::unique_ptr<grpc::Server> server_;
};

absl::Status ControlServer::Impl::Start() {
  grpc::ResourceQuota quota("control");
  quota.SetMaxThreads(kMaxThreads).Resize(kMaxGrpcBytes);
  grpc::ServerBuilder builder;
  builder.SetResourceQuota(quota);
  builder.SetMaxReceiveMessageSize(kMaxMessageBytes);
  builder.SetMaxSendMessageSize(kMaxMessageBytes);
  builder.SetSyncServerOption(grpc::ServerBuilder::NUM_CQS, 1);
  builder.SetSyncServerOption(grpc::ServerBuilder::MIN_POLLERS, 1);
  builder.SetSyncServerOption(grpc::ServerBuilder::MAX_POLLERS, 2);
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);  // two servers on one port is a mistake to be told of
  builder.AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE, kMaxMetadataBytes);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, kMaxStreamsPerConnection);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, kMinPingIntervalMs);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PING_STRIKES, 2);
  builder.AddChannelArgument(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, 5000);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONNECTION_IDLE_MS, 300'000);
  int port = 0;
  builder.AddListeningPort(options_.listen.ToString(), Credentials(), &port);
  builder.RegisterService(this);
  builder.RegisterService(admin_.get());
  server_ = builder.BuildAndStart();
  if (server_ == nullptr || port == 0) {
    return absl::UnavailableError(
        absl::StrCat("cannot listen on ", options_.listen.ToString(), ": the address is in use or not this host's"));
  }
  address_.port = static_cast<uint16_t>(port);
  return absl::OkStatus();
}

void ControlServer::Impl::Stop(absl::Duration grace) {
  if (server_ == nullptr) {
    if (!options_.tls.empty()) EndGrpcRefusals();  // it did not start
    return;
  }
  server_->Shutdown(std::chrono::system_clock::now() + absl::ToChronoMilliseconds(grace));
  server_->Wait();
  server_.reset();
  if (!options_.tls.empty()) EndGrpcRefusals();
}

std::shared_ptr<grpc::ServerCredentials> ControlServer::Impl::Credentials() {
  if (options_.tls.empty()) return grpc::InsecureServerCredentials();
  TakeOverGrpcLog([this] { metrics_.Rejected(absl::StatusCode::kUnauthenticated); });
  return ServerTlsCredentials(options_.tls);
}

absl::Status ControlServer::Impl::DoOpenSession(const grpc::ServerContext& context,
                                                const v1::OpenSessionRequest& request,
                                                v1::OpenSessionResponse& response) {
  if (request.protocol_version() != kProtocolVersion) {
    return absl::FailedPreconditionError(absl::StrCat("the client (", request.client_version(), ") speaks protocol ",
                                                      request.protocol_version(), ", server ", options_.server_name,
                                                      " speaks ", kProtocolVersion));
  }
  if (draining_) return absl::UnavailableError("the server is shutting down");
  if (*options_.drained) return absl::UnavailableError("the server is being drained: it opens no more sessions");
  if (request.transports_size() > kMaxTransportsOffered) {
    return absl::InvalidArgumentError(
        absl::StrCat(request.transports_size(), " transports offered; at most ", kMaxTransportsOffered));
  }
  std::vector<OfferedTransport> offers;
  for (const v1::TransportOffer& offer : request.transports()) offers.push_back({offer.name(), offer.detail()});
  ASSIGN_OR_RETURN(const TransportChoice choice, ChooseTransport(options_.transports, request.host_id(), offers));
  ASSIGN_OR_RETURN(const Identity caller, IdentifyCaller(context, options_.identity.get()));
  ASSIGN_OR_RETURN(const uint32_t tenant, store_.OpenTenant(caller.tenant));
  ASSIGN_OR_RETURN(const std::shared_ptr<Session> session,
                   sessions_.Open(caller, tenant, options_.quotas.Of(caller.tenant), SteadyNow()));

  response.set_session_id(session->id());
  response.set_session_key(session->key());
  response.set_server_name(options_.server_name);
  response.set_transport(choice.name);
  response.set_data_address(choice.address);
  response.set_reason(choice.reason);
  response.set_encrypted(choice.encrypted);
  response.set_lease_ms(LeaseMs());
  response.set_cluster_secret_id(std::string(secret_.id().view()));
  response.set_epoch(options_.epoch);
  response.set_max_blocks(wire::kMaxBlocksPerMessage);
  response.set_max_inflight_bytes(options_.max_inflight_bytes);
  spdlog::debug("session {:x} of {} opened over {}: {}", session->id(), caller.tenant, choice.name, choice.reason);
  return absl::OkStatus();
}

absl::Status ControlServer::Impl::DoOpenNamespace(const grpc::ServerContext& context,
                                                  const v1::OpenNamespaceRequest& request,
                                                  v1::OpenNamespaceResponse& response) {
  ASSIGN_OR_RETURN(const std::shared_ptr<Session> session, SessionOf(context, request));
  ASSIGN_OR_RETURN(const Digest weights, DigestField(request.weights(), "weights"));
  std::optional<Digest> adapter;
  if (!request.adapter().empty()) {
    ASSIGN_OR_RETURN(adapter, DigestField(request.adapter(), "adapter"));
  }
  ASSIGN_OR_RETURN(const Layout layout, Layout::Parse(request.layout()));
  const Digest bytes = Namespace(secret_.SaltOf(session->identity().tenant), weights, adapter, layout.ToString());
  ASSIGN_OR_RETURN(const uint32_t store_id,
                   store_.OpenNamespace(session->tenant(), bytes, layout, ModelDigest(weights, adapter)));
  ASSIGN_OR_RETURN(const uint32_t id, session->OpenNamespace(store_id, bytes, layout));
  sessions_.Renew(*session, SteadyNow());
  response.set_namespace_id(id);
  response.set_namespace_bytes(std::string(bytes.view()));
  return absl::OkStatus();
}

absl::Status ControlServer::Impl::DoIntroduce(const grpc::ServerContext& context, const v1::IntroduceRequest& request,
                                              v1::IntroduceResponse& response) {
  RETURN_IF_ERROR(SessionOf(context, request).status());
  ASSIGN_OR_RETURN(const std::string words, options_.introduce(request.transport(), request.words()));
  response.set_words(words);
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<ControlServer>> ControlServer::Start(const ControlOptions& options,
                                                                    const ClusterSecret& secret, SessionTable& sessions,
                                                                    ExtentStore& store, ServiceMetrics& metrics) {
  auto impl = std::make_unique<Impl>(options, secret, sessions, store, metrics);
  RETURN_IF_ERROR(impl->Start());
  return std::unique_ptr<ControlServer>(new ControlServer(std::move(impl)));
}

ControlServer::ControlServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
ControlServer::~ControlServer() = default;
const HostPort& ControlServer::address() const {
  return impl_->address();
}
void ControlServer::Drain() {
  impl_->Drain();
}
void ControlServer::Stop(absl::Duration grace) {
  impl_->Stop(grace);
}

}  // namespace droidspeak
