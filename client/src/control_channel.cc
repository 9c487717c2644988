// SPDX-License-Identifier: Apache-2.0
#include "client/src/control_channel.h"

#include <grpcpp/grpcpp.h>

#include <cstring>
#include <fstream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/status.h"
#include "common/tls/grpc_credentials.h"
#include "common/transport/transport.h"
#include "droidspeak/v1/control.grpc.pb.h"

namespace droidspeak {
namespace {

constexpr uint32_t kProtocolVersion = 1;

// The same on all processes of a host, another after each boot and in another virtual machine.
std::string HostId() {
  std::ifstream file("/proc/sys/kernel/random/boot_id");
  std::string id;
  std::getline(file, id);
  return id;
}

absl::Status FromGrpc(const grpc::Status& status) {
  return absl::Status(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
}

absl::StatusOr<Digest> ToDigest(const std::string& bytes, absl::string_view field) {
  Digest digest;
  if (bytes.size() != digest.bytes.size()) {
    return absl::InternalError(absl::StrCat(field, " has ", bytes.size(), " bytes; expected 32"));
  }
  std::memcpy(digest.bytes.data(), bytes.data(), bytes.size());
  return digest;
}

}  // namespace

struct ControlChannel::Stub {
  std::shared_ptr<grpc::ChannelCredentials> credentials;
  std::unique_ptr<v1::Control::Stub> control;

  void Connect(const std::string& host_port) {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);  // a client's failures are its own
    arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 1000);
    arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
    control = v1::Control::NewStub(grpc::CreateCustomChannel(host_port, credentials, arguments));
  }

  // Calls `method` with a deadline; `stop` cancels it.
  template <typename Method, typename Request, typename Response>
  absl::Status Call(Method method, const Request& request, Response& response, absl::Duration timeout,
                    const std::stop_token& stop = {}) {
    grpc::ClientContext context;
    context.set_deadline(absl::ToChronoTime(absl::Now() + timeout));
    const std::stop_callback cancel(stop, [&] { context.TryCancel(); });
    return FromGrpc((control.get()->*method)(&context, request, &response));
  }
};

ControlChannel::ControlChannel(const std::string& host_port, const TlsFiles& tls)
    : host_port_(host_port), secure_(!tls.empty()), stub_(std::make_shared<Stub>()) {
  stub_->credentials = ClientCredentials(tls);
  stub_->Connect(host_port_);
}

void ControlChannel::Renew() {
  if (!secure_) return;
  auto renewed = std::make_shared<Stub>();
  renewed->credentials = stub()->credentials;
  renewed->Connect(host_port_);
  absl::MutexLock lock(&mutex_);
  stub_ = std::move(renewed);
}

ControlChannel::~ControlChannel() = default;

absl::StatusOr<ControlChannel::Opened> ControlChannel::OpenSession(const std::vector<std::string>& transports,
                                                                   absl::Duration timeout,
                                                                   const std::stop_token& stop) {
  v1::OpenSessionRequest request;
  request.set_protocol_version(kProtocolVersion);
  request.set_client_version(DROIDSPEAK_VERSION);
  request.set_host_id(HostId());
  for (const std::string& name : transports) {
    v1::TransportOffer* const offer = request.add_transports();
    offer->set_name(name);
    if (const auto transport = FindTransport(name); transport.ok()) offer->set_detail((*transport)->version());
  }
  v1::OpenSessionResponse response;
  RETURN_IF_ERROR(stub()->Call(&v1::Control::Stub::OpenSession, request, response, timeout, stop));
  if (response.session_key().size() != 32) {
    return absl::InternalError(absl::StrCat("the server at ", host_port_, " gave a session key of ",
                                            response.session_key().size(), " bytes; expected 32"));
  }
  Opened opened;
  opened.session = {response.session_id(), {}, response.server_name(), response.transport(), response.data_address()};
  std::memcpy(opened.session.key.data(), response.session_key().data(), opened.session.key.size());
  opened.session.encrypted = response.encrypted();
  // Over a network nothing is sent in the clear that was asked for under TLS, whatever a server says.
  if (secure_ && response.transport() == "tcp" && !response.encrypted()) {
    return absl::FailedPreconditionError(
        absl::StrCat("the server at ", host_port_, " does not encrypt its data plane; expected TLS"));
  }
  opened.lease = absl::Milliseconds(response.lease_ms());
  opened.secret_id = response.cluster_secret_id();
  opened.session.reason = response.reason();
  return opened;
}

absl::StatusOr<ControlChannel::OpenedNamespace> ControlChannel::OpenNamespace(const SessionInfo& session,
                                                                              const Digest& weights,
                                                                              const std::optional<Digest>& adapter,
                                                                              const Layout& layout,
                                                                              absl::Duration timeout) {
  v1::OpenNamespaceRequest request;
  request.set_session_id(session.id);
  request.set_session_key(session.key.data(), session.key.size());
  request.set_weights(std::string(weights.view()));
  if (adapter.has_value()) request.set_adapter(std::string(adapter->view()));
  request.set_layout(layout.ToString());
  v1::OpenNamespaceResponse response;
  RETURN_IF_ERROR(stub()->Call(&v1::Control::Stub::OpenNamespace, request, response, timeout));
  OpenedNamespace opened;
  opened.id = response.namespace_id();
  ASSIGN_OR_RETURN(opened.bytes, ToDigest(response.namespace_bytes(), "namespace_bytes"));
  return opened;
}

absl::StatusOr<std::string> ControlChannel::Introduce(const SessionInfo& session, const std::string& words,
                                                      absl::Duration timeout, const std::stop_token& stop) {
  v1::IntroduceRequest request;
  request.set_session_id(session.id);
  request.set_session_key(session.key.data(), session.key.size());
  request.set_transport(session.transport);
  request.set_words(words);
  v1::IntroduceResponse response;
  RETURN_IF_ERROR(stub()->Call(&v1::Control::Stub::Introduce, request, response, timeout, stop));
  return response.words();
}

absl::Status ControlChannel::Heartbeat(const SessionInfo& session, absl::Duration timeout,
                                       const std::stop_token& stop) {
  v1::HeartbeatRequest request;
  request.set_session_id(session.id);
  request.set_session_key(session.key.data(), session.key.size());
  v1::HeartbeatResponse response;
  return stub()->Call(&v1::Control::Stub::Heartbeat, request, response, timeout, stop);
}

void ControlChannel::CloseSession(const SessionInfo& session, absl::Duration timeout) {
  v1::CloseSessionRequest request;
  request.set_session_id(session.id);
  request.set_session_key(session.key.data(), session.key.size());
  v1::CloseSessionResponse response;
  // A session that is not closed expires.
  stub()->Call(&v1::Control::Stub::CloseSession, request, response, timeout).IgnoreError();
}

}  // namespace droidspeak
