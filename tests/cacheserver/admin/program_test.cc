// SPDX-License-Identifier: Apache-2.0
// The program droidspeak-cacheserver itself: what it refuses, how it starts, how it ends.
#include <gmock/gmock.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "tests/cacheserver/service/service_fixture.h"
#include "tests/support/certificates.h"
#include "tests/support/server_process.h"
#include "tests/support/taken_port.h"

namespace droidspeak {
namespace {

using testing::HasSubstr;

struct Outcome {
  int exit_code = -1;
  std::string text;  // both outputs
};

// Runs the program to its end.
Outcome RunProgram(const std::string& arguments) {
  const std::string command =
      absl::StrCat("timeout 120 " DROIDSPEAK_BIN "/droidspeak-cacheserver ", arguments, " 2>&1");
  FILE* pipe = popen(command.c_str(), "r");
  Outcome outcome;
  char buffer[4096];
  while (const size_t got = fread(buffer, 1, sizeof buffer, pipe)) outcome.text.append(buffer, got);
  const int status = pclose(pipe);
  outcome.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return outcome;
}

TEST(ProgramTest, HelpNamesTheOptionsAndTheirDefaults) {
  const Outcome outcome = RunProgram("--help");
  EXPECT_EQ(outcome.exit_code, 0);
  for (const char* text : {"--name", "--listen", "127.0.0.1:7700", "--data", "--admin", "--host-pool", "--spill-limit",
                           "--cluster-secret-file", "--insecure", "--config"}) {
    EXPECT_THAT(outcome.text, HasSubstr(text));
  }
  EXPECT_EQ(RunProgram("--version").exit_code, 0);
}

struct BadCase {
  const char* name;
  const char* arguments;  // FOLDER is an empty folder, FILE a file in it
  int exit_code;
  const char* message;
};

void PrintTo(const BadCase& bad, std::ostream* out) {
  *out << bad.arguments;
}

class BadConfigurationTest : public testing::TestWithParam<BadCase> {};

TEST_P(BadConfigurationTest, IsRefusedWithAMessageThatNamesIt) {
  TemporaryFolder folder;
  std::ofstream(folder.path() + "/file") << "plain\n";
  std::ofstream(folder.path() + "/unknown.yaml") << "name: a\nhost-pol: 1GiB\n";
  std::ofstream(folder.path() + "/badvalue.yaml") << "spill-limit: lots\n";
  const TestAuthority authority;
  authority.Issue(folder.path(), "a", {"a", {}, {}});
  authority.Issue(folder.path(), "b", {"b", {}, {}});
  authority.Issue(folder.path(), "old", {"old", {}, {}, -absl::Hours(1)});
  mkdir((folder.path() + "/other").c_str(), 0700);
  std::ofstream(folder.path() + "/other/cluster-secret-id") << std::string(64, 'a') << "\n";
  // What a case doesn't say itself.
  std::string arguments = absl::StrReplaceAll(GetParam().arguments, {{"FOLDER", folder.path()}});
  for (const std::string other : {"--listen 127.0.0.1:0", "--data 127.0.0.1:0", "--admin 127.0.0.1:0",
                                  "--host-pool 16MiB", "--local-socket FOLDER/socket"}) {
    const std::string flag = other.substr(0, other.find(' '));
    if (arguments.find(flag) != std::string::npos) continue;
    absl::StrAppend(&arguments, " ", absl::StrReplaceAll(other, {{"FOLDER", folder.path()}}));
  }
  const Outcome outcome = RunProgram(arguments);
  EXPECT_EQ(outcome.exit_code, GetParam().exit_code) << outcome.text;
  EXPECT_THAT(outcome.text, HasSubstr(absl::StrReplaceAll(GetParam().message, {{"FOLDER", folder.path()}})));
}

INSTANTIATE_TEST_SUITE_P(
    Cases, BadConfigurationTest,
    testing::Values(
        BadCase{"UnknownFlag", "--frobnicate", 2, "--frobnicate"},
        BadCase{"UnknownKey", "--config FOLDER/unknown.yaml", 2, "FOLDER/unknown.yaml:2: unknown key 'host-pol'"},
        BadCase{"BadYamlValue", "--config FOLDER/badvalue.yaml", 2, "FOLDER/badvalue.yaml:1"},
        BadCase{"MissingConfig", "--config FOLDER/none.yaml", 2, "FOLDER/none.yaml"},
        BadCase{"BadAddress", "--listen nowhere", 2, "--listen"},
        BadCase{"BadPort", "--data 127.0.0.1:99999", 2, "--data"},
        BadCase{"OpenControl", "--listen 0.0.0.0:0", 2, "--listen 0.0.0.0:0 can be reached from other hosts"},
        BadCase{"OpenData", "--data 0.0.0.0:0", 2, "--data 0.0.0.0:0 can be reached from other hosts"},
        BadCase{"OpenAdmin", "--admin 0.0.0.0:0", 2, "--admin 0.0.0.0:0 can be reached from other hosts"},
        BadCase{"UnknownTransport", "--transport pigeon", 2, "expected auto, local, verbs, tcp or ucx"},
        BadCase{"GpuPool", "--gpu-pool 1GiB", 2, "--gpu-pool is not built yet"},
        BadCase{"TlsCert", "--tls-cert FOLDER/none", 2, "--tls-cert FOLDER/none"},
        BadCase{"TlsKey", "--tls-key FOLDER/file", 2, "--tls-cert is missing"},
        BadCase{"TlsOtherKey", "--tls-cert FOLDER/a.crt --tls-key FOLDER/b.key --tls-ca FOLDER/a-ca.crt", 2,
                "--tls-key FOLDER/b.key: is not the key of the certificate in FOLDER/a.crt"},
        BadCase{"TlsNoCa", "--tls-cert FOLDER/a.crt --tls-key FOLDER/a.key --tls-ca FOLDER/file", 2,
                "--tls-ca FOLDER/file: no certificate in PEM"},
        BadCase{"TlsExpired", "--tls-cert FOLDER/old.crt --tls-key FOLDER/old.key --tls-ca FOLDER/a-ca.crt", 2,
                "--tls-cert FOLDER/old.crt: is valid from"},
        BadCase{"TlsUcx", "--transport ucx --tls-cert FOLDER/a.crt --tls-key FOLDER/a.key --tls-ca FOLDER/a-ca.crt", 2,
                "--transport ucx with TLS"},
        BadCase{"TenantField", "--tenant-rule shoe", 2, "--tenant-rule 'shoe': expected FIELD or FIELD:REGEX"},
        BadCase{"TenantPattern", "--tenant-rule 'dns:a(b'", 2, "--tenant-rule 'dns:a(b'"},
        BadCase{"RolePattern", "--role-rule ou:abc", 2, "expected a regular expression with one group"},
        BadCase{"Quota", "--quota team-a=1GiB", 2, "--quota 'team-a=1GiB': expected TENANT KEY=VALUE"},
        BadCase{"QuotaKey", "--quota 'team-a memory=1GiB'", 2, "'memory': expected host-pool, spill, bandwidth"},
        BadCase{"QuotaTwice", "--quota 'a spill=1GiB' --quota 'a spill=2GiB'", 2, "--quota: a has two"},
        BadCase{"BadSize", "--host-pool many", 2, "--host-pool"},
        BadCase{"SmallPool", "--host-pool 1MiB", 2, "expected at least 16MiB"},
        BadCase{"HugePool", "--host-pool 1000TiB", 2, "is more than this machine's memory"},
        BadCase{"BadName", "--name a=b", 2, "--name 'a=b'"}, BadCase{"NoTtl", "--default-ttl 0s", 2, "--default-ttl"},
        BadCase{"ShortTtl", "--default-ttl 500ms", 2, "--default-ttl 500ms: expected at least 1s"},
        BadCase{"SmallSpill", "--spill FOLDER/s --spill-limit 1MiB", 2, "expected at least 64MiB"},
        BadCase{"AdvertisedPort", "--advertise host:7701", 2,
                "--advertise 'host:7701': expected a host without a port"},
        BadCase{"BadTtl", "--default-ttl soon", 2, "--default-ttl"},
        BadCase{"SpillIsAFile", "--spill FOLDER/file", 1, "--spill FOLDER/file is not a folder"},
        BadCase{"SpillBelowAFile", "--spill FOLDER/file/x", 1, "FOLDER/file/x"},
        BadCase{"SpillNotWritable", "--spill /proc/1", 1, "/proc/1"},
        BadCase{"SpillInMemory", "--spill /dev/shm", 1, "--spill /dev/shm lies in memory (tmpfs)"},
        BadCase{"SpillLimit", "--spill FOLDER/s --spill-limit 4000TiB", 2, "is more than the file system"},
        BadCase{"ShortSecret", "--cluster-secret-file FOLDER/file", 2, "FOLDER/file has 6 bytes; expected at least 16"},
        BadCase{"NoSecretFile", "--cluster-secret-file FOLDER/none", 1, "FOLDER/none"},
        BadCase{"OtherSecret", "--spill FOLDER/other", 1, "was written under the cluster secret with id aaaa"},
        BadCase{"SocketNowhere", "--local-socket /nonexistent/folder/s", 1, "--local-socket /nonexistent/folder/s"}),
    [](const testing::TestParamInfo<BadCase>& info) { return std::string(info.param.name); });

TEST(ProgramTest, AnAddressInUseIsNamedWithItsFlag) {
  TemporaryFolder folder;
  const TakenPort taken;
  for (const std::string flag : {"--listen", "--data", "--admin"}) {
    std::string arguments = "--host-pool 16MiB --local-socket " + folder.path() + "/socket";
    for (const std::string each : {"--listen", "--data", "--admin"}) {
      absl::StrAppend(&arguments, " ", each, " ", each == flag ? taken.address() : "127.0.0.1:0");
    }
    const Outcome outcome = RunProgram(arguments);
    EXPECT_EQ(outcome.exit_code, 1) << outcome.text;
    EXPECT_THAT(outcome.text, HasSubstr(flag));
    EXPECT_THAT(outcome.text, HasSubstr(taken.address()));
  }
}

TEST(ProgramTest, ServesAndEndsCleanlyOnSigterm) {
  TemporaryFolder folder;
  auto server = ServerProcess::Start("cache-a", {"--host-pool=16MiB", "--spill=" + folder.path() + "/spill"});
  ASSERT_TRUE(server.ok()) << server.status();
  EXPECT_EQ(HttpGet((*server)->admin(), "/livez"), "ok\n");
  EXPECT_EQ(HttpGet((*server)->admin(), "/readyz"), "ok\n");
  EXPECT_THAT(HttpGet((*server)->admin(), "/metrics"), HasSubstr("droidspeak_cache_capacity_bytes"));
  const absl::StatusOr<RawSession> session = OpenRawSession((*server)->listen(), "local");
  ASSERT_TRUE(session.ok()) << session.status();
  EXPECT_EQ(session->data_address, (*server)->local_socket());
  RawConnection connection(*session, 1 << 20);
  EXPECT_TRUE(connection.Hello());
  EXPECT_EQ((*server)->Terminate(), 0);
  EXPECT_TRUE(connection.DriveUntilClosed());
}

TEST(ProgramTest, FlagsOverrideTheFile) {
  TemporaryFolder folder;
  std::ofstream(folder.path() + "/server.yaml") << "transport: ucx\nhost-pool: 32MiB\n";
  auto server = ServerProcess::Start("cache-a", {"--config=" + folder.path() + "/server.yaml", "--transport=local"});
  ASSERT_TRUE(server.ok()) << server.status();
  EXPECT_EQ((*server)->data(), "");
  EXPECT_THAT(HttpGet((*server)->admin(), "/metrics"), HasSubstr(R"(droidspeak_cache_capacity_bytes{tier="host"})"));
  EXPECT_EQ((*server)->Terminate(), 0);
}

}  // namespace
}  // namespace droidspeak
