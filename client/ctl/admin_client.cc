// SPDX-License-Identifier: Apache-2.0
#include "client/ctl/admin_client.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status.h"
#include "common/tls/grpc_credentials.h"

namespace droidspeak::ctl {
namespace {

constexpr absl::Duration kConnectTimeout = absl::Seconds(5);

}  // namespace

absl::StatusOr<std::unique_ptr<AdminClient>> AdminClient::Connect(const ServerAddress& server, const TlsFiles& tls) {
  auto client = std::unique_ptr<AdminClient>(
      new AdminClient(v1::Admin::NewStub(grpc::CreateChannel(server.host_port, ClientCredentials(tls)))));
  const absl::Status asked =
      client->Call(&v1::Admin::Stub::Status, v1::StatusRequest{}, client->status_, kConnectTimeout);
  if (absl::IsUnavailable(asked) || absl::IsDeadlineExceeded(asked)) {
    return Annotate(asked, tls.empty() ? "cannot be reached (without TLS)" : "cannot be reached (with TLS)");
  }
  RETURN_IF_ERROR(asked);
  if (!server.name.empty() && client->status_.name() != server.name) {
    return absl::FailedPreconditionError(
        absl::StrCat("the server calls itself '", client->status_.name(), "'; expected '", server.name, "'"));
  }
  return client;
}

}  // namespace droidspeak::ctl
