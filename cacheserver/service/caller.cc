// SPDX-License-Identifier: Apache-2.0
#include "cacheserver/service/caller.h"

#include <grpcpp/security/auth_context.h>

#include <string_view>
#include <vector>

#include "absl/time/clock.h"
#include "common/base/status.h"

namespace droidspeak {

absl::StatusOr<Identity> IdentifyCaller(const grpc::ServerContext& context, const IdentityRules* rules) {
  if (rules == nullptr) return Identity::Anyone();
  const std::shared_ptr<const grpc::AuthContext> auth = context.auth_context();
  if (auth != nullptr) {
    const std::vector<grpc::string_ref> pem = auth->FindPropertyValues("x509_pem_cert");
    if (!pem.empty()) {
      ASSIGN_OR_RETURN(const Certificate certificate,
                       Certificate::ParsePem(std::string_view(pem.front().data(), pem.front().size())));
      // The handshake looked at it, but that may have been long ago.
      const absl::Time now = absl::Now();
      if (now < certificate.not_before() || now >= certificate.not_after()) {
        return absl::UnauthenticatedError("the client's certificate is not valid now: connect with another");
      }
      return rules->Of(certificate);
    }
  }
  return absl::UnauthenticatedError("the call came without a client's certificate");
}

}  // namespace droidspeak
