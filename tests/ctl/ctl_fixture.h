// SPDX-License-Identifier: Apache-2.0
// droidspeak-ctl against real servers that hold something.
#pragma once

#include <string>
#include <vector>

#include "nlohmann/json.hpp"
#include "tests/client/client_fixture.h"

namespace droidspeak {

struct Outcome {
  int exit_code = -1;
  std::string out;
  std::string err;
};

class CtlTest : public ClientTest {
 protected:
  // Runs the program to its end.
  Outcome Run(const std::string& arguments);
  // The same with --servers of all that were started, before the verb.
  Outcome Ctl(const std::string& arguments);
  // With --json as well; fails the test when it exits with another code. Each server's answer.
  nlohmann::json CtlJson(const std::string& arguments, int exit_code = 0);

  // Stores KV of all layers and E of layer 1 of `blocks` blocks; `seed` chooses tokens. Remembers namespace and hashes.
  void Fill(int blocks, uint32_t seed = 0, uint8_t weights = 1);
  std::string space() const { return ns_.bytes.Hex(); }
  // The hashes that Fill() stored last, with commas between.
  std::string hashes() const;

  NamespaceHandle ns_;
  std::vector<Digest> blocks_;
};

}  // namespace droidspeak
