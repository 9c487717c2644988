// SPDX-License-Identifier: Apache-2.0
// What droidspeak-ctl refuses, and how it says so.
#include <gmock/gmock.h>

#include "tests/ctl/ctl_fixture.h"
#include "tests/support/taken_port.h"

namespace droidspeak {
namespace {

using testing::HasSubstr;

const std::string kHash(64, 'a');

TEST_F(CtlTest, HelpTeachesTheVerbs) {
  const Outcome help = Run("--help");
  EXPECT_EQ(help.exit_code, 0);
  for (const char* verb : {"status", "namespaces", "blocks", "coverage", "pin", "unpin", "purge", "drain", "verify"}) {
    EXPECT_THAT(help.out, HasSubstr(verb));
    EXPECT_EQ(Run(std::string(verb) + " --help").exit_code, 0) << verb;
  }
  EXPECT_THAT(Run("--version").out, HasSubstr("droidspeak-ctl"));
}

struct BadCase {
  const char* name;
  std::string arguments;
  const char* message;
};

void PrintTo(const BadCase& bad, std::ostream* out) {
  *out << bad.arguments;
}

class BadUsage : public CtlTest, public testing::WithParamInterface<BadCase> {};

TEST_P(BadUsage, ExitsWithTwoAndSaysWhatWasExpected) {
  const Outcome outcome = Run(GetParam().arguments);
  EXPECT_EQ(outcome.exit_code, 2) << outcome.out << outcome.err;
  EXPECT_THAT(outcome.err, HasSubstr(GetParam().message));
  EXPECT_EQ(outcome.out, "");
}

const std::string kServer = "--servers 127.0.0.1:1 ";

INSTANTIATE_TEST_SUITE_P(
    Cases, BadUsage,
    testing::Values(BadCase{"NoVerb", kServer, "subcommand"}, BadCase{"NoServers", "status", "--servers"},
                    BadCase{"BadServers", "--servers nowhere status", "--servers"},
                    BadCase{"NamelessServers", "--servers 127.0.0.1:1,127.0.0.1:2 status", "needs a name"},
                    BadCase{"UnknownVerb", kServer + "explode", "subcommand"},
                    BadCase{"NoNamespace", kServer + "blocks", "--namespace"},
                    BadCase{"BadHex", kServer + "blocks --namespace xyz", "--namespace"},
                    BadCase{"ShortHex", kServer + "blocks --namespace abcd", "--namespace"},
                    BadCase{"BadBlock", kServer + "coverage --namespace " + kHash + " --blocks " + kHash + ",12",
                            "--blocks"},
                    BadCase{"NoLimit", kServer + "blocks --namespace " + kHash + " --limit 0", "--limit"},
                    BadCase{"PinNothing", kServer + "pin --namespace " + kHash, "--blocks or --all"},
                    BadCase{"PinBoth", kServer + "pin --all --namespace " + kHash + " --blocks " + kHash, "--all"},
                    BadCase{"PurgeWithoutYes", kServer + "purge --model " + kHash, "--yes"},
                    BadCase{"PurgeNothing", kServer + "purge --yes", "Exactly 1 option"},
                    BadCase{"PurgeTwo", kServer + "purge --yes --tenant a --model " + kHash, "Exactly 1 option"},
                    BadCase{"BadTransport", kServer + "verify --transport pigeon", "--transport"},
                    BadCase{"HalfTls", kServer + "status --tls-cert x", "--tls-"}),
    [](const testing::TestParamInfo<BadCase>& info) { return std::string(info.param.name); });

TEST_F(CtlTest, UnreachableServerIsNamedWithItsAddress) {
  const TakenPort taken;  // nobody accepts
  for (const std::string verb : {"status", "namespaces", "verify", "drain"}) {
    const Outcome outcome = Run("--servers 127.0.0.1:1 " + verb);
    EXPECT_EQ(outcome.exit_code, 1) << verb;
    EXPECT_THAT(outcome.err, HasSubstr("127.0.0.1:1: cannot be reached"));
  }
  const Outcome silent = Run("--servers " + taken.address() + " status");
  EXPECT_EQ(silent.exit_code, 1);
  EXPECT_THAT(silent.err, HasSubstr(taken.address() + ": cannot be reached"));
}

TEST_F(CtlTest, ServerUnderAnotherNameIsRefused) {
  const ServerProcess& server = StartServer("a");
  const Outcome outcome = Run("--servers b=" + server.listen() + " drain");
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.err, HasSubstr("calls itself 'a'; expected 'b'"));
  EXPECT_EQ(CtlJson("status")[0]["draining"], false);
}

TEST_F(CtlTest, OneDeadServerDoesNotHideTheOthers) {
  StartServer("a");
  addresses_.push_back({"b", "127.0.0.1:1"});
  const nlohmann::json servers = CtlJson("status", 1);
  EXPECT_EQ(servers[0]["ready"], true);
  EXPECT_THAT(servers[1]["error"].get<std::string>(), HasSubstr("cannot be reached"));
  const Outcome table = Ctl("status");
  EXPECT_THAT(table.out, HasSubstr("ready"));
  EXPECT_THAT(table.err, HasSubstr("127.0.0.1:1: cannot be reached"));
}

TEST_F(CtlTest, ServersMayStandBehindTheVerbAndInAFile) {
  const ServerProcess& server = StartServer("a");
  EXPECT_EQ(Run("status --servers " + server.listen()).exit_code, 0);
  const std::string file = folder_.path() + "/ctl.yaml";
  FILE* out = fopen(file.c_str(), "w");
  fprintf(out, "servers: %s\n", server.listen().c_str());
  fclose(out);
  EXPECT_EQ(Run("status --config " + file).exit_code, 0);
}

TEST_F(CtlTest, UnknownNamespaceModelAndTenantAreNamed) {
  StartServer("a");
  for (const std::string& verb :
       std::vector<std::string>{"blocks", "coverage --blocks " + kHash, "pin --all", "unpin --all", "purge --yes"}) {
    const Outcome outcome = Ctl(verb + " --namespace " + kHash);
    EXPECT_EQ(outcome.exit_code, 1) << verb;
    EXPECT_THAT(outcome.err, HasSubstr("there is no namespace " + kHash)) << verb;
  }
  EXPECT_THAT(Ctl("purge --yes --model " + kHash).err, HasSubstr("model " + kHash));
  EXPECT_THAT(Ctl("purge --yes --tenant nobody").err, HasSubstr("tenant nobody"));
}

}  // namespace
}  // namespace droidspeak
