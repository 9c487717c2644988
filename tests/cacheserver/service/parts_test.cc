// SPDX-License-Identifier: Apache-2.0
// The service's parts that need no server: secrets, sessions, the choice of a transport, the inbox.
#include <gmock/gmock.h>
#include <sys/stat.h>

#include <thread>

#include "cacheserver/service/cluster_secret.h"
#include "cacheserver/service/inbox.h"
#include "cacheserver/service/session_table.h"
#include "cacheserver/service/transport_choice.h"
#include "common/base/files.h"
#include "tests/support/server_process.h"

namespace droidspeak {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST(ClusterSecretTest, SaltAndIdAreThoseOfTheDesign) {
  TemporaryFolder folder;
  std::string secret;
  for (int i = 0; i < 32; ++i) secret.push_back(static_cast<char>(i));
  const std::string file = folder.path() + "/secret";
  ASSERT_TRUE(WriteFileAtomically(file, secret, 0600).ok());
  const absl::StatusOr<ClusterSecret> loaded = ClusterSecret::Load(file, "");
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(loaded->SaltOf("tenant-a").Hex(), "2a5a9d4ec58a25eac168b3f278266ae9e90409b38a3cdeb8150b12e83889f16f");
  EXPECT_EQ(loaded->id(), Sha256Of("droidspeak/secret-id/v1" + secret));
}

TEST(ClusterSecretTest, WithoutAFileItIsKeptWithTheStoreAndPrivate) {
  TemporaryFolder folder;
  const absl::StatusOr<ClusterSecret> first = ClusterSecret::Load("", folder.path());
  const absl::StatusOr<ClusterSecret> second = ClusterSecret::Load("", folder.path());
  ASSERT_TRUE(first.ok() && second.ok());
  EXPECT_EQ(first->id(), second->id());
  struct stat found {};
  ASSERT_EQ(stat((folder.path() + "/cluster-secret").c_str(), &found), 0);
  EXPECT_EQ(found.st_mode & 0777, 0600u);
  EXPECT_NE(ClusterSecret::Load("", "")->id(), ClusterSecret::Load("", "")->id());
}

TEST(ClusterSecretTest, AStoreOfAnotherSecretIsRefused) {
  TemporaryFolder folder;
  const absl::StatusOr<ClusterSecret> kept = ClusterSecret::Load("", folder.path());
  ASSERT_TRUE(kept.ok());
  const std::string file = folder.path() + "/other";
  ASSERT_TRUE(WriteFileAtomically(file, "0123456789abcdef0123456789abcdef", 0600).ok());
  const absl::StatusOr<ClusterSecret> other = ClusterSecret::Load(file, folder.path());
  EXPECT_TRUE(absl::IsFailedPrecondition(other.status()));
  EXPECT_THAT(std::string(other.status().message()), HasSubstr(kept->id().Hex()));
}

TEST(ClusterSecretTest, AShortSecretIsRefused) {
  TemporaryFolder folder;
  const std::string file = folder.path() + "/short";
  ASSERT_TRUE(WriteFileAtomically(file, "123456789012345").ok());
  const absl::StatusOr<ClusterSecret> loaded = ClusterSecret::Load(file, "");
  EXPECT_TRUE(absl::IsInvalidArgument(loaded.status()));
  EXPECT_THAT(std::string(loaded.status().message()), HasSubstr(file));
}

// A server that serves `local`, and a network by `transport`.
ServedTransports Served(const char* transport, const char* version) {
  return {"host-a", {{"local", "/socket", ""}, {transport, "1.2.3.4:5", version}}};
}

TEST(TransportChoiceTest, TheSameHostGetsLocal) {
  const auto choice = ChooseTransport(Served("tcp", ""), "host-a", {{"tcp", ""}, {"local", ""}});
  ASSERT_TRUE(choice.ok());
  EXPECT_EQ(choice->name, "local");
  EXPECT_EQ(choice->address, "/socket");
}

TEST(TransportChoiceTest, AnotherHostGetsTcp) {
  const auto choice = ChooseTransport(Served("tcp", ""), "host-b", {{"local", ""}, {"tcp", ""}, {"ucx", "1.13"}});
  ASSERT_TRUE(choice.ok());
  EXPECT_EQ(choice->name, "tcp");
  EXPECT_EQ(choice->address, "1.2.3.4:5");
  EXPECT_THAT(choice->reason, HasSubstr("different hosts"));
}

TEST(TransportChoiceTest, AnotherHostGetsUcxOfTheSameVersion) {
  const auto choice = ChooseTransport(Served("ucx", "1.13"), "host-b", {{"local", ""}, {"tcp", ""}, {"ucx", "1.13"}});
  ASSERT_TRUE(choice.ok());
  EXPECT_EQ(choice->name, "ucx");
  EXPECT_THAT(choice->reason, HasSubstr("different hosts"));
}

TEST(TransportChoiceTest, NothingInCommonSaysWhyForEach) {
  const ServedTransports served = {"host-a", {{"ucx", "1.2.3.4:5", "1.13"}}};
  const auto choice = ChooseTransport(served, "host-a", {{"local", ""}, {"tcp", ""}, {"ucx", "1.22"}});
  EXPECT_TRUE(absl::IsFailedPrecondition(choice.status()));
  EXPECT_THAT(std::string(choice.status().message()), HasSubstr("local: not served"));
  EXPECT_THAT(std::string(choice.status().message()), HasSubstr("tcp: not served"));
  EXPECT_THAT(std::string(choice.status().message()), HasSubstr("1.22"));
}

TEST(TransportChoiceTest, HostsWithoutAnIdAreNotTheSame) {
  EXPECT_FALSE(ChooseTransport({"", {{"local", "/socket", ""}}}, "", {{"local", ""}}).ok());
}

TEST(SessionTableTest, TenantsHaveAQuotaOfSessionsAndSessionsEndWithTheirCertificate) {
  int ended = 0;
  SessionTable table({.sessions = 10, .lease = absl::Hours(1)}, [&](uint64_t) { ++ended; });
  Identity identity{"a", 7, absl::Now() + absl::Minutes(5)};
  Quota quota;
  quota.sessions = 2;
  const absl::Time start = absl::UnixEpoch();
  ASSERT_TRUE(table.Open(identity, 1, quota, start).ok());
  const auto second = table.Open(identity, 1, quota, start).value();
  EXPECT_TRUE(absl::IsResourceExhausted(table.Open(identity, 1, quota, start).status()));
  EXPECT_TRUE(table.Open(Identity::Anyone(), 0, Quota{}, start).ok()) << "others' are others'";
  EXPECT_TRUE(absl::IsNotFound(table.Authenticate(second->id(), second->key(), "b").status()));
  EXPECT_TRUE(table.Authenticate(second->id(), second->key(), "a").ok());
  table.Renew(*second, start + absl::Minutes(1));
  EXPECT_EQ(table.ExpireUntil(start + absl::Minutes(4)), 0);
  EXPECT_EQ(table.ExpireUntil(start + absl::Minutes(6)), 2) << "the certificate's end, though leases run for an hour";
  EXPECT_EQ(ended, 2);
}

TEST(SessionTableTest, SessionsEndOnceByCloseOrLease) {
  std::vector<uint64_t> ended;
  SessionTable table({.sessions = 8, .lease = absl::Seconds(10)}, [&](uint64_t id) { ended.push_back(id); });
  const absl::Time start = absl::UnixEpoch();
  const auto a = table.Open(Identity::Anyone(), 0, Quota{}, start).value();
  const auto b = table.Open(Identity::Anyone(), 0, Quota{}, start).value();
  EXPECT_EQ(table.ExpireUntil(start + absl::Seconds(9)), 0);
  table.Renew(*a, start + absl::Seconds(5));
  EXPECT_EQ(table.ExpireUntil(start + absl::Seconds(10)), 1);
  EXPECT_TRUE(b->ended());
  EXPECT_FALSE(a->ended());
  table.Close(*a);
  table.Close(*a);
  EXPECT_TRUE(a->ended());
  EXPECT_THAT(ended, ElementsAre(b->id(), a->id()));
  EXPECT_EQ(table.size(), 0u);
}

TEST(SessionTableTest, KeysAreFreshAndNeeded) {
  SessionTable table({}, [](uint64_t) {});
  const auto a = table.Open(Identity::Anyone(), 0, Quota{}, absl::UnixEpoch()).value();
  const auto b = table.Open(Identity::Anyone(), 0, Quota{}, absl::UnixEpoch()).value();
  EXPECT_NE(a->key(), b->key());
  EXPECT_TRUE(table.Authenticate(a->id(), a->key(), kDefaultTenantName).ok());
  EXPECT_TRUE(absl::IsNotFound(table.Authenticate(a->id(), b->key(), kDefaultTenantName).status()));
  EXPECT_TRUE(absl::IsNotFound(table.Authenticate(a->id(), "", kDefaultTenantName).status()));
}

TEST(SessionTableTest, NamespacesAreNumberedOnceAndLimited) {
  SessionTable table({}, [](uint64_t) {});
  const auto session = table.Open(Identity::Anyone(), 0, Quota{}, absl::UnixEpoch()).value();
  EXPECT_EQ(session->OpenNamespace(7, Sha256Of("a"), Layout{}).value(), 1u);
  EXPECT_EQ(session->OpenNamespace(8, Sha256Of("b"), Layout{}).value(), 2u);
  EXPECT_EQ(session->OpenNamespace(7, Sha256Of("a"), Layout{}).value(), 1u);
  EXPECT_EQ(session->FindNamespace(2)->store_id, 8u);
  EXPECT_EQ(session->FindNamespace(0), nullptr);
  EXPECT_EQ(session->FindNamespace(3), nullptr);
  for (size_t i = 2; i < Session::kMaxNamespaces; ++i) {
    ASSERT_TRUE(session->OpenNamespace(0, Sha256Of(std::to_string(i)), Layout{}).ok());
  }
  EXPECT_TRUE(absl::IsResourceExhausted(session->OpenNamespace(0, Sha256Of("more"), Layout{}).status()));
}

TEST(InboxTest, WorkOfOthersWakesAndRunsInOrder) {
  Inbox inbox;
  inbox.Own();
  std::vector<int> ran;
  std::thread([&] {
    for (int i = 0; i < 3; ++i) inbox.Post([&ran, i] { ran.push_back(i); });
  }).join();
  EXPECT_TRUE(inbox.wakeup().Drain());
  EXPECT_EQ(inbox.Run(), 3);
  EXPECT_THAT(ran, ElementsAre(0, 1, 2));
  EXPECT_TRUE(inbox.empty());
}

TEST(InboxTest, AClosedOneDropsWork) {
  auto held = std::make_shared<int>(1);
  Inbox inbox;
  inbox.Post([held] {});
  inbox.Close();
  inbox.Post([held] {});
  EXPECT_EQ(inbox.Run(), 0);
  EXPECT_EQ(held.use_count(), 1);
}

}  // namespace
}  // namespace droidspeak
