// SPDX-License-Identifier: Apache-2.0
#include "common/base/config.h"

#include <filesystem>
#include <string>
#include <vector>

#include "common/base/files.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace droidspeak {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

class ConfigTest : public ::testing::Test {
 protected:
  ConfigTest() {
    std::string pattern = ::testing::TempDir() + "/config_test.XXXXXX";
    folder_ = mkdtemp(pattern.data());
    program_.app().add_option("--name", name_, "Name")->required();
    program_.app().add_option("--server", servers_, "Servers");
    program_.app().add_flag("--insecure", insecure_, "No TLS");
    AddBytesOption(program_.app(), "--host-pool", pool_, "Pool");
    AddDurationOption(program_.app(), "--default-ttl", ttl_, "TTL");
    AddHostPortOption(program_.app(), "--listen", listen_, "Address");
  }
  ~ConfigTest() override { std::filesystem::remove_all(folder_); }

  std::string File(const std::string& yaml) {
    path_ = folder_ + "/c.yaml";
    EXPECT_TRUE(WriteFileAtomically(path_, yaml).ok());
    return path_;
  }

  std::optional<int> Parse(std::vector<const char*> arguments) {
    arguments.insert(arguments.begin(), "test-program");
    ::testing::internal::CaptureStderr();
    ::testing::internal::CaptureStdout();
    const std::optional<int> exit = program_.Parse(static_cast<int>(arguments.size()), arguments.data());
    out_ = ::testing::internal::GetCapturedStdout();
    err_ = ::testing::internal::GetCapturedStderr();
    return exit;
  }

  std::optional<int> ParseFile(const std::string& yaml) { return Parse({"--config", File(yaml).c_str()}); }

  Program program_{"test-program", "Tests things."};
  std::string folder_;
  std::string path_;
  std::string name_;
  std::vector<std::string> servers_;
  bool insecure_ = false;
  uint64_t pool_ = 1 << 20;
  absl::Duration ttl_ = absl::Hours(1);
  HostPort listen_{"127.0.0.1", 7400};
  std::string out_;
  std::string err_;
};

TEST_F(ConfigTest, FlagsAreRead) {
  EXPECT_EQ(Parse({"--name", "a", "--host-pool=4GiB", "--default-ttl", "90m", "--listen", "h:1", "--insecure"}),
            std::nullopt);
  EXPECT_EQ(name_, "a");
  EXPECT_EQ(pool_, uint64_t{4} << 30);
  EXPECT_EQ(ttl_, absl::Minutes(90));
  EXPECT_EQ(listen_, (HostPort{"h", 1}));
  EXPECT_TRUE(insecure_);
}

TEST_F(ConfigTest, AFileGivesOptionsRequiredOnesToo) {
  EXPECT_EQ(ParseFile("# a comment\nname: a\nhost-pool: 2MiB\nserver: [x, y]\ninsecure: true\nlog-level: warn\n"),
            std::nullopt);
  EXPECT_EQ(name_, "a");
  EXPECT_EQ(pool_, 2 << 20);
  EXPECT_THAT(servers_, ElementsAre("x", "y"));
  EXPECT_TRUE(insecure_);
}

TEST_F(ConfigTest, FlagsOverrideTheFile) {
  const std::string path = File("name: file\nhost-pool: 2MiB\n");
  EXPECT_EQ(Parse({"--name", "flag", "--config", path.c_str()}), std::nullopt);
  EXPECT_EQ(name_, "flag");
  EXPECT_EQ(pool_, 2 << 20);
}

TEST_F(ConfigTest, DefaultsStayWithoutFlagAndFile) {
  EXPECT_EQ(Parse({"--name", "a"}), std::nullopt);
  EXPECT_EQ(pool_, 1 << 20);
  EXPECT_EQ(ttl_, absl::Hours(1));
  EXPECT_EQ(listen_.port, 7400);
}

TEST_F(ConfigTest, UnknownKeysAreRefusedWithFileAndLine) {
  EXPECT_EQ(ParseFile("name: a\n\nhost-pol: 2MiB\n"), kExitUsage);
  EXPECT_THAT(err_, HasSubstr(path_ + ":3: unknown key 'host-pol'"));
  EXPECT_EQ(ParseFile("name: a\nhelp: true\n"), kExitUsage);
  EXPECT_THAT(err_, HasSubstr(":2: unknown key 'help'"));
  EXPECT_EQ(ParseFile("name: a\nconfig: b\n"), kExitUsage);
  EXPECT_THAT(err_, HasSubstr(":2: unknown key 'config'"));
}

TEST_F(ConfigTest, BadValuesInAFileAreRefusedWithFileAndLine) {
  EXPECT_EQ(ParseFile("name: a\nhost-pool: many\n"), kExitUsage);
  EXPECT_THAT(err_, HasSubstr(path_ + ":2: --host-pool: 'many' is no size"));
  EXPECT_EQ(ParseFile("name: a\nlog-level: loud\n"), kExitUsage);
  EXPECT_THAT(err_, HasSubstr(path_ + ":2: --log-level"));
  EXPECT_EQ(ParseFile("name: a\ninsecure: perhaps\n"), kExitUsage);
  EXPECT_THAT(err_, HasSubstr("c.yaml:2:"));
}

TEST_F(ConfigTest, BadShapesInAFileAreRefusedWithFileAndLine) {
  for (const char* yaml :
       {"name: a\nname: b\n", "name: a\nserver:\n", "name: a\nserver: {x: y}\n", "name: a\nserver: []\n",
        "name: a\nserver: [[x]]\n", "name: a\n? [x]\n: y\n", "name: a\n\tb: c\n"}) {
    EXPECT_EQ(ParseFile(yaml), kExitUsage) << yaml;
    EXPECT_THAT(err_, HasSubstr("c.yaml:2: ")) << yaml;
  }
  EXPECT_EQ(ParseFile("just text"), kExitUsage);
  EXPECT_THAT(err_, HasSubstr("c.yaml:1: "));
}

TEST_F(ConfigTest, MissingFilesAndRequiredOptionsAreNamed) {
  EXPECT_EQ(Parse({"--name", "a", "--config", "/nowhere/c.yaml"}), kExitUsage);
  EXPECT_THAT(err_, HasSubstr("/nowhere/c.yaml"));
  EXPECT_EQ(Parse({}), kExitUsage);
  EXPECT_THAT(err_, HasSubstr("--name is required"));
}

TEST_F(ConfigTest, BadFlagsAreRefusedNamingThem) {
  EXPECT_EQ(Parse({"--name", "a", "--host-pool", "-5"}), kExitUsage);
  EXPECT_THAT(err_, StartsWith("test-program: --host-pool: '-5' is no size"));
  EXPECT_EQ(Parse({"--name", "a", "--default-ttl", "5"}), kExitUsage);
  EXPECT_THAT(err_, HasSubstr("--default-ttl: '5' is no duration"));
  EXPECT_EQ(Parse({"--name", "a", "--listen", "nowhere"}), kExitUsage);
  EXPECT_THAT(err_, HasSubstr("--listen: 'nowhere' is no address"));
  EXPECT_EQ(Parse({"--name", "a", "--what"}), kExitUsage);
  EXPECT_THAT(err_, HasSubstr("--what"));
}

TEST_F(ConfigTest, HelpAndVersionGoToStandardOutput) {
  EXPECT_EQ(Parse({"--help"}), kExitOk);
  EXPECT_THAT(out_, HasSubstr("--host-pool SIZE=1.0 MiB"));
  EXPECT_EQ(Parse({"--version"}), kExitOk);
  EXPECT_THAT(out_, StartsWith("test-program 0."));
}

class SubcommandTest : public ConfigTest {
 protected:
  SubcommandTest() : score_(program_.app().add_subcommand("score")), fill_(program_.app().add_subcommand("fill")) {
    score_->add_option("--model", model_)->required();
    fill_->add_option("--dataset", dataset_);
    program_.app().require_subcommand(1);
  }

  CLI::App* score_;
  CLI::App* fill_;
  std::string model_;
  std::string dataset_;
};

TEST_F(SubcommandTest, AFileGivesOptionsOfTheSubcommandInUse) {
  const std::string path = File("name: a\nmodel: m\n");
  EXPECT_EQ(Parse({"score", "--config", path.c_str()}), std::nullopt);
  EXPECT_EQ(model_, "m");
  EXPECT_EQ(name_, "a");
  EXPECT_TRUE(score_->parsed());
}

TEST_F(SubcommandTest, OptionsOfAnotherSubcommandAreUnknown) {
  const std::string path = File("name: a\nmodel: m\ndataset: d\n");
  EXPECT_EQ(Parse({"--config", path.c_str(), "score"}), kExitUsage);
  EXPECT_THAT(err_, HasSubstr("c.yaml:3: unknown key 'dataset'"));
}

TEST_F(SubcommandTest, CommonOptionsMayFollowTheSubcommand) {
  EXPECT_EQ(Parse({"score", "--model", "m", "--name", "a", "--log-level", "error"}), std::nullopt);
  EXPECT_EQ(Parse({"score", "--help"}), kExitOk);
  EXPECT_THAT(out_, HasSubstr("--model"));
}

}  // namespace
}  // namespace droidspeak
