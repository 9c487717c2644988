// SPDX-License-Identifier: Apache-2.0
#include "tests/engine/commands/engine_program.h"

#include <sys/wait.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "engine/model/safetensors.h"
#include "gtest/gtest.h"
#include "tests/support/server_process.h"

namespace droidspeak {

Outcome RunEngine(const std::string& arguments, const std::string& before) {
  const TemporaryFolder folder;
  const std::string errors = folder.path() + "/stderr";
  const std::string command =
      absl::StrCat(before, "timeout 200 " DROIDSPEAK_BIN "/droidspeak-engine ", arguments, " 2>", errors);
  Outcome outcome;
  FILE* pipe = popen(command.c_str(), "r");
  char buffer[4096];
  while (const size_t got = fread(buffer, 1, sizeof buffer, pipe)) outcome.output.append(buffer, got);
  const int status = pclose(pipe);
  outcome.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  std::stringstream messages;
  messages << std::ifstream(errors).rdbuf();
  outcome.messages = messages.str();
  return outcome;
}

void WriteTokens(const std::string& path, const std::map<std::string, std::vector<int64_t>>& tensors) {
  std::vector<TensorToWrite> all;
  for (const auto& [name, ids] : tensors) {
    const auto* bytes = reinterpret_cast<const std::byte*>(ids.data());
    all.push_back(
        {name, "I64", {static_cast<int64_t>(ids.size())}, absl::MakeConstSpan(bytes, ids.size() * sizeof(int64_t))});
  }
  const absl::Status status = WriteSafetensors(path, all);
  EXPECT_TRUE(status.ok()) << status;
}

std::map<std::string, Values> ReadTensors(const std::string& path) {
  std::map<std::string, Values> all;
  const auto file = SafetensorsFile::Open(path);
  EXPECT_TRUE(file.ok()) << file.status();
  if (!file.ok()) return all;
  for (const auto& [name, stored] : (*file)->tensors()) {
    if (stored.dtype != "F32") continue;
    Values& values = all[name];
    values.shape = stored.shape;
    values.values.resize(stored.bytes.size() / sizeof(float));
    std::memcpy(values.values.data(), stored.bytes.data(), stored.bytes.size());
  }
  return all;
}

double MaxDifference(const Values& a, const Values& b) {
  EXPECT_EQ(a.values.size(), b.values.size());
  double most = 0;
  for (size_t i = 0; i < std::min(a.values.size(), b.values.size()); ++i) {
    most = std::max(most, std::abs(static_cast<double>(a.values[i]) - b.values[i]));
  }
  return most;
}

}  // namespace droidspeak
