// SPDX-License-Identifier: Apache-2.0
#include "cacheserver/service/caller.h"

#include <grpcpp/security/auth_context.h>

#include <string_view>
#include <vector>

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
      return rules->Of(certificate);
    }
  }
  return absl::UnauthenticatedError("the call came without a client's certificate");
}

}  // namespace droidspeak
