// SPDX-License-Identifier: Apache-2.0
#include "tests/ctl/ctl_fixture.h"

#include <sys/wait.h>

#include <cstdio>
#include <fstream>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace droidspeak {

Outcome CtlTest::Run(const std::string& arguments) {
  const std::string errors = folder_.path() + "/ctl-errors";
  const std::string command =
      absl::StrCat("timeout 120 " DROIDSPEAK_BIN "/droidspeak-ctl --log-level warn ", arguments, " 2>", errors);
  FILE* pipe = popen(command.c_str(), "r");
  Outcome outcome;
  char buffer[4096];
  while (const size_t got = fread(buffer, 1, sizeof buffer, pipe)) outcome.out.append(buffer, got);
  const int status = pclose(pipe);
  outcome.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  std::stringstream text;
  text << std::ifstream(errors).rdbuf();
  outcome.err = text.str();
  return outcome;
}

Outcome CtlTest::Ctl(const std::string& arguments) {
  std::vector<std::string> servers;
  for (const ServerAddress& server : addresses_) servers.push_back(absl::StrCat(server.name, "=", server.host_port));
  return Run(absl::StrCat("--servers ", absl::StrJoin(servers, ","), " ", arguments));
}

nlohmann::json CtlTest::CtlJson(const std::string& arguments, int exit_code) {
  const Outcome outcome = Ctl(absl::StrCat(arguments, " --json"));
  EXPECT_EQ(outcome.exit_code, exit_code) << arguments << ": " << outcome.err;
  nlohmann::json answer = nlohmann::json::parse(outcome.out, nullptr, /*allow_exceptions=*/false);
  EXPECT_TRUE(answer.is_object() && answer["servers"].is_array() && answer["servers"].size() == addresses_.size())
      << outcome.out;
  return answer.is_object() ? answer["servers"] : nlohmann::json::array();
}

void CtlTest::Fill(int blocks, uint32_t seed, uint8_t weights) {
  const auto client = Connect("local");
  ASSERT_NE(client, nullptr);
  ns_ = Open(*client, weights);
  const std::vector<uint32_t> tokens = Tokens(layout_, blocks, seed);
  StoreAll(*client, ns_, tokens);
  blocks_ = BlockHashes(ns_.bytes, tokens, layout_.block_tokens);
}

std::string CtlTest::hashes() const {
  return absl::StrJoin(blocks_, ",", [](std::string* out, const Digest& block) { absl::StrAppend(out, block.Hex()); });
}

}  // namespace droidspeak
