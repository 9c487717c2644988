// SPDX-License-Identifier: Apache-2.0
// Shared by the tests of `fill` and `evaluate`: tiny models that can read text, a data set, and running a command.
#pragma once

#include <string>
#include <vector>

#include "nlohmann/json.hpp"
#include "tests/engine/prefill/tiny_models.h"
#include "tests/support/server_process.h"

namespace droidspeak {

struct Outcome {
  int exit_code = 0;
  std::string out;    // standard output
  std::string error;  // standard error

  // `out` as JSON; fails the test unless the command succeeded.
  [[nodiscard]] nlohmann::json Json() const;
};

// Runs `fill` or `evaluate` (the first argument) in this process, as main() does.
Outcome RunCommand(const std::vector<std::string>& arguments);

// A folder with models `base`, `tuned` (a drifted variant) and a data set of five questions with a prompt template.
class Fixture {
 public:
  static constexpr int kLayers = 4;

  Fixture();

  [[nodiscard]] std::string Path(const std::string& name) const { return folder_.path() + "/" + name; }
  // Writes the data set anew, with other answers; one a question.
  void WriteAnswers(const std::vector<std::string>& answers) const;
  [[nodiscard]] int questions() const { return 5; }

  // `evaluate` of `receiver` with the data set and `more` arguments, in fp32.
  [[nodiscard]] Outcome Evaluate(const std::string& receiver, const std::string& sender,
                                 const std::vector<std::string>& more) const;
  // The same with --json and --predictions: the predicted texts.
  [[nodiscard]] std::vector<std::string> Predictions(const std::string& receiver, const std::string& sender,
                                                     const std::vector<std::string>& more) const;
  [[nodiscard]] Outcome Fill(const std::string& model, const std::vector<std::string>& more) const;

 private:
  TemporaryFolder folder_;
};

}  // namespace droidspeak
