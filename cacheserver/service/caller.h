// SPDX-License-Identifier: Apache-2.0
// Who makes a call of the control plane.
#pragma once

#include "absl/status/statusor.h"
#include "cacheserver/service/identity.h"
#include "grpcpp/server_context.h"

namespace droidspeak {

// Anyone() when `rules` is null: no TLS. Else by the certificate that the connection's handshake has verified;
// UNAUTHENTICATED without one, PERMISSION_DENIED as IdentityRules::Of().
[[nodiscard]] absl::StatusOr<Identity> IdentifyCaller(const grpc::ServerContext& context, const IdentityRules* rules);

}  // namespace droidspeak
