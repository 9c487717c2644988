// SPDX-License-Identifier: Apache-2.0
// OpenAI's own Python client against `serve`.
#include <sys/wait.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "tests/engine/commands/serve_fixture.h"

namespace droidspeak {
namespace {

using ::testing::EndsWith;

// A variable of the environment; `otherwise` where it is empty, too, as in a shell's ${NAME:-OTHERWISE}.
std::string Variable(const char* name, const std::string& otherwise) {
  const char* const value = std::getenv(name);
  return value == nullptr || *value == '\0' ? otherwise : value;
}

// That of the virtual environment which setup.sh makes.
std::string Python() {
  const std::string caches = Variable("XDG_CACHE_HOME", Variable("HOME", "") + "/.cache");
  const std::string cache = Variable("DROIDSPEAK_CACHE", caches + "/droidspeak");
  return Variable("DROIDSPEAK_OPENAI_PYTHON", cache + "/openai/bin/python");
}

TEST_F(ServeTest, TheOpenAiPythonClientIsServed) {
  const std::string python = Python();
  ASSERT_TRUE(std::filesystem::exists(python)) << python << " is not there: run deploy/bootstrap/setup.sh openai";
  Serve();
  const std::string command =
      absl::StrCat("timeout 200 ", python, " " OPENAI_CLIENT " http://", address(), "/v1 ", engine_->model(), " 2>&1");
  FILE* const pipe = popen(command.c_str(), "r");
  ASSERT_NE(pipe, nullptr);
  std::string output;
  char buffer[4096];
  while (const size_t got = fread(buffer, 1, sizeof buffer, pipe)) output.append(buffer, got);
  const int status = pclose(pipe);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << output;
  EXPECT_THAT(output, EndsWith("ok\n"));
}

}  // namespace
}  // namespace droidspeak
