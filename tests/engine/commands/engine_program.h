// SPDX-License-Identifier: Apache-2.0
// The program droidspeak-engine, run to its end, and files for it.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace droidspeak {

struct Outcome {
  int exit_code = -1;
  std::string output;    // standard output
  std::string messages;  // standard error
};

// `arguments` as in a shell; `before`: shell commands that set the stage, each ended by a semicolon.
Outcome RunEngine(const std::string& arguments, const std::string& before = "");

// Writes a safetensors file of 1-D I64 tensors.
void WriteTokens(const std::string& path, const std::map<std::string, std::vector<int64_t>>& tensors);

// An F32 tensor of a safetensors file.
struct Values {
  std::vector<int64_t> shape;
  std::vector<float> values;
};
std::map<std::string, Values> ReadTensors(const std::string& path);

// Of two tensors of the same size.
double MaxDifference(const Values& a, const Values& b);

}  // namespace droidspeak
