// SPDX-License-Identifier: Apache-2.0
// droidspeak-ctl and a server with TLS: only operators' certificates do.
#include <gmock/gmock.h>

#include "absl/strings/str_cat.h"
#include "tests/ctl/ctl_fixture.h"
#include "tests/support/certificates.h"

namespace droidspeak {
namespace {

using testing::HasSubstr;

TEST_F(CtlTest, OnlyTheRoleAdminMayAdminister) {
  const TestAuthority authority;
  const TlsFiles server = authority.Issue(folder_.path(), "server", {"cache-0", {}, {"IP:127.0.0.1"}});
  StartServer("cache-0", {"--tls-cert=" + server.certificate, "--tls-key=" + server.key, "--tls-ca=" + server.ca,
                          "--role-rule=ou"});
  const auto as = [&](const std::string& tenant, const std::vector<std::string>& roles, const std::string& verb) {
    const TlsFiles files = authority.Issue(folder_.path(), "client", {tenant, roles, {}});
    return Ctl(absl::StrCat(verb, " --tls-cert ", files.certificate, " --tls-key ", files.key, " --tls-ca ", files.ca));
  };
  for (const std::string verb : {"status", "namespaces", "drain", "purge --tenant a --yes"}) {
    const Outcome denied = as("a", {"read", "fill"}, verb);
    EXPECT_EQ(denied.exit_code, 1) << verb;
    EXPECT_THAT(denied.err, HasSubstr("the role 'admin' is needed")) << verb;
  }
  EXPECT_EQ(as("operators", {"admin"}, "status").exit_code, 0);
  EXPECT_EQ(as("operators", {"admin"}, "verify").exit_code, 1) << "which stores and fetches";
  const Outcome verified = as("operators", {"admin", "read", "fill"}, "verify");
  EXPECT_EQ(verified.exit_code, 0) << verified.err;
  EXPECT_EQ(Ctl("status").exit_code, 1) << "in the clear";
}

}  // namespace
}  // namespace droidspeak
