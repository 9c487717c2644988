// SPDX-License-Identifier: Apache-2.0
// A server with TLS: who gets in, what they see of each other, and what they may do.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "tests/client/client_fixture.h"
#include "tests/support/certificates.h"
#include "tests/support/http_get.h"

namespace droidspeak {
namespace {

using testing::HasSubstr;

class SecurityTest : public ClientTest {
 protected:
  void StartSecureServer(std::vector<std::string> more = {}) {
    const TlsFiles files = IssueServer(authority_);
    more.insert(more.end(), {"--tls-cert=" + files.certificate, "--tls-key=" + files.key, "--tls-ca=" + files.ca,
                             "--role-rule=ou:role-(.*)"});
    StartServer("cache-0", std::move(more));
  }
  TlsFiles IssueServer(const TestAuthority& authority) {
    return authority.Issue(folder_.path(), "server", {"cache-0", {}, {"IP:127.0.0.1", "DNS:localhost"}});
  }
  TlsFiles IssueClient(const std::string& tenant, std::vector<std::string> units = {"role-read", "role-fill"},
                       absl::Duration valid_for = absl::Hours(1)) {
    return authority_.Issue(folder_.path(), absl::StrCat("client", ++issued_), {tenant, units, {}, valid_for});
  }
  absl::StatusOr<std::unique_ptr<Client>> TryConnect(const TlsFiles& files, const std::string& transport = "tcp") {
    ClientOptions options;
    options.servers = addresses_;
    options.transport = transport;
    options.tls = files;
    options.connect_timeout = absl::Seconds(20);
    return Client::Connect(options);
  }
  std::unique_ptr<Client> ConnectAs(const TlsFiles& files, const std::string& transport = "tcp") {
    auto client = TryConnect(files, transport);
    EXPECT_TRUE(client.ok()) << client.status();
    return client.ok() ? *std::move(client) : nullptr;
  }
  // A counter's or gauge's value as /metrics has it.
  double Metric(const std::string& line) { return MetricOf(servers_.front()->admin(), line); }

  TestAuthority authority_;
  int issued_ = 0;
};

TEST_F(SecurityTest, TenantsStoreAndFetchOverTcpAndLocalAndSeeOnlyTheirOwn) {
  ASSERT_NO_FATAL_FAILURE(StartSecureServer());
  const std::vector<uint32_t> tokens = Tokens(layout_, 3);
  for (const std::string transport : {"tcp", "local"}) {
    const auto a = ConnectAs(IssueClient("tenant-a-" + transport), transport);
    const auto b = ConnectAs(IssueClient("tenant-b-" + transport), transport);
    ASSERT_TRUE(a != nullptr && b != nullptr);
    const NamespaceHandle of_a = Open(*a);
    const NamespaceHandle of_b = Open(*b);
    EXPECT_NE(of_a.bytes, of_b.bytes) << "salts differ";
    ASSERT_NO_FATAL_FAILURE(StoreAll(*a, of_a, tokens));
    std::vector<std::byte> got(3 * layout_.kv_bytes());
    EXPECT_EQ(a->FetchKv(of_a, tokens, 2, absl::MakeSpan(got)).value(), 3);
    EXPECT_EQ(got, Stored(Kind::kKv, 2, 3));
    EXPECT_EQ(b->FetchKv(of_b, tokens, 2, absl::MakeSpan(got)).value(), 0) << "the same tokens of another tenant";
    // Another's hashes, asked for by name, are misses: the index's key has the tenant.
    const std::vector<Digest> hashes = BlockHashes(of_a.bytes, tokens, layout_.block_tokens);
    for (const BlockCoverage& block : b->Coverage(of_b, hashes)) EXPECT_EQ(block.kv[0], 0u);
    for (const BlockCoverage& block : a->Coverage(of_a, hashes)) EXPECT_EQ(block.kv[0], 0xfu);
  }
  EXPECT_GT(Metric("droidspeak_fetch_bytes_total{kind=\"kv\",tier=\"host\",transport=\"tcp\"}"), 0);
}

TEST_F(SecurityTest, StrangersAreRefusedAndCounted) {
  ASSERT_NO_FATAL_FAILURE(StartSecureServer());
  const TestAuthority other;
  TlsFiles wrong_authority = other.Issue(folder_.path(), "wrong", {"tenant-a", {"role-read"}, {}});
  wrong_authority.ca = IssueClient("x").ca;  // believes the server, and is not believed
  const TlsFiles unbelieving = [&] {
    TlsFiles files = IssueClient("tenant-a");
    files.ca = other.Issue(folder_.path(), "other", {"x", {}, {}}).ca;
    return files;
  }();
  const double before = Metric("droidspeak_rejected_total{reason=\"unauthenticated\"}");
  const auto refused = TryConnect(wrong_authority);
  EXPECT_TRUE(absl::IsUnavailable(refused.status())) << refused.status();
  EXPECT_GT(Metric("droidspeak_rejected_total{reason=\"unauthenticated\"}"), before);
  EXPECT_TRUE(absl::IsUnavailable(TryConnect(unbelieving).status())) << "the client refuses the server";
  EXPECT_TRUE(absl::IsUnavailable(TryConnect({}).status())) << "in the clear";
  EXPECT_TRUE(absl::IsInvalidArgument(TryConnect(IssueClient("tenant-a", {"role-read"}, -absl::Hours(1))).status()))
      << "expired, and the client says so itself";
  const auto nobody = TryConnect(IssueClient("tenant-a", {"role-king", "kitchen"}));
  EXPECT_THAT(std::string(nobody.status().message()), HasSubstr("names no role"));
  EXPECT_GT(Metric("droidspeak_rejected_total{reason=\"permission_denied\"}"), 0);
  EXPECT_NE(ConnectAs(IssueClient("tenant-a")), nullptr) << "and who is known gets in all the same";
}

TEST_F(SecurityTest, RolesSayWhatASessionMayDo) {
  ASSERT_NO_FATAL_FAILURE(StartSecureServer());
  const std::vector<uint32_t> tokens = Tokens(layout_, 2);
  const auto reader = ConnectAs(IssueClient("tenant-a", {"role-read"}));
  const auto filler = ConnectAs(IssueClient("tenant-a", {"role-fill"}));
  ASSERT_TRUE(reader != nullptr && filler != nullptr);
  const NamespaceHandle ns = Open(*reader);
  const NamespaceHandle filled = Open(*filler);
  EXPECT_EQ(ns.bytes, filled.bytes) << "one tenant";
  EXPECT_TRUE(absl::IsPermissionDenied(reader->StoreKv(ns, tokens, 0, Stored(Kind::kKv, 0, 2))));
  ASSERT_TRUE(filler->StoreKv(filled, tokens, 0, Stored(Kind::kKv, 0, 2)).ok());
  std::vector<std::byte> got(2 * layout_.kv_bytes());
  EXPECT_EQ(reader->FetchKv(ns, tokens, 0, absl::MakeSpan(got)).value(), 2);
  const auto denied = filler->FetchKv(filled, tokens, 0, absl::MakeSpan(got));
  EXPECT_TRUE(!denied.ok() || *denied == 0);
}

TEST_F(SecurityTest, CertificatesAreTakenUpWithoutARestart) {
  ASSERT_NO_FATAL_FAILURE(StartSecureServer());
  const TlsFiles before = IssueClient("tenant-a");
  ASSERT_NE(ConnectAs(before), nullptr);
  // A new authority takes over: the server's files are replaced under it.
  const TestAuthority next;
  IssueServer(next);
  const TlsFiles after = next.Issue(folder_.path(), "after", {"tenant-a", {"role-read", "role-fill"}, {}});
  absl::StatusOr<std::unique_ptr<Client>> client = absl::UnavailableError("not tried");
  for (const absl::Time limit = absl::Now() + absl::Seconds(60); !client.ok() && absl::Now() < limit;) {
    client = TryConnect(after);
  }
  ASSERT_TRUE(client.ok()) << client.status();
  EXPECT_FALSE(TryConnect(before).ok()) << "the old authority is believed no more";
}

TEST_F(SecurityTest, ASessionEndsWithItsCertificate) {
  ASSERT_NO_FATAL_FAILURE(StartSecureServer());
  const auto client = ConnectAs(IssueClient("tenant-a", {"role-read"}, absl::Seconds(3)));
  ASSERT_NE(client, nullptr);
  const absl::Time limit = absl::Now() + absl::Seconds(60);
  while (client->live_servers() > 0 && absl::Now() < limit) std::this_thread::yield();
  EXPECT_EQ(client->live_servers(), 0);
}

TEST_F(SecurityTest, ARunningClientTakesUpItsRenewedCertificate) {
  ASSERT_NO_FATAL_FAILURE(StartSecureServer());
  const CertificateRequest request{"tenant-a", {"role-read", "role-fill"}, {}, absl::Seconds(3)};
  const TlsFiles files = authority_.Issue(folder_.path(), "renewed", request);
  const absl::Time expiry = absl::Now() + request.valid_for;
  const auto client = ConnectAs(files);
  ASSERT_NE(client, nullptr);
  const NamespaceHandle ns = Open(*client);
  authority_.Issue(folder_.path(), "renewed", {"tenant-a", {"role-read", "role-fill"}, {}});
  const std::vector<uint32_t> tokens = Tokens(layout_, 2);
  std::vector<std::byte> got(2 * layout_.kv_bytes());
  int fetched = 0;
  for (const absl::Time limit = expiry + absl::Seconds(60); fetched < 2 && absl::Now() < limit;) {
    if (absl::Now() < expiry + absl::Seconds(1) || client->live_servers() == 0) {
      std::this_thread::yield();
      continue;
    }
    client->StoreKv(ns, tokens, 0, Stored(Kind::kKv, 0, 2)).IgnoreError();
    fetched = client->FetchKv(ns, tokens, 0, absl::MakeSpan(got)).value_or(0);
  }
  EXPECT_EQ(fetched, 2) << "a second after the first certificate's end";
}

TEST_F(SecurityTest, UcxIsRefusedWithoutTrustInPeers) {
  const TlsFiles files = IssueServer(authority_);
  const std::vector<std::string> arguments = {"--tls-cert=" + files.certificate, "--tls-key=" + files.key,
                                              "--tls-ca=" + files.ca, "--transport=ucx", "--host-pool=16MiB"};
  EXPECT_FALSE(ServerProcess::Start("cache-0", arguments).ok());
  std::vector<std::string> trusting = arguments;
  trusting.push_back("--ucx-trust-peers");
  EXPECT_TRUE(ServerProcess::Start("cache-0", trusting).ok());
}

}  // namespace
}  // namespace droidspeak
