// SPDX-License-Identifier: Apache-2.0
#include "tests/engine/commands/evaluation_harness.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <memory>

#include "CLI/CLI.hpp"
#include "common/base/log.h"
#include "engine/commands/command.h"
#include "engine/commands/options.h"
#include "gtest/gtest.h"

namespace droidspeak {
namespace {

constexpr int kVocabulary = 535;  // of the tokenizer

void WriteReadingModel(const std::string& dir, TinyModel model) {
  model.vocab = kVocabulary;
  model.layers = Fixture::kLayers;
  std::filesystem::create_directories(dir);
  WriteTinyModel(dir, model);
  std::filesystem::copy_file(TOKENIZER, dir + "/tokenizer.json");
}

std::vector<std::string> Joined(std::vector<std::string> first, const std::vector<std::string>& more) {
  first.insert(first.end(), more.begin(), more.end());
  return first;
}

}  // namespace

nlohmann::json Outcome::Json() const {
  EXPECT_EQ(exit_code, 0) << error;
  return nlohmann::json::parse(out, nullptr, /*allow_exceptions=*/false);
}

Outcome RunCommand(const std::vector<std::string>& arguments) {
  CLI::App app;
  const std::unique_ptr<Command> commands[] = {MakeFill(app), MakeEvaluate(app)};
  Outcome outcome;
  try {
    std::vector<std::string> last_first(arguments.rbegin(), arguments.rend());
    app.parse(last_first);
  } catch (const CLI::ParseError& error) {
    return {.exit_code = 2, .error = error.what()};
  }
  static const absl::Status log = StartLog("test", "warn");
  EXPECT_TRUE(log.ok()) << log;
  testing::internal::CaptureStdout();
  testing::internal::CaptureStderr();
  for (const auto& command : commands) {
    if (command->app()->parsed()) outcome.exit_code = Report(command->app()->get_name(), command->Run());
  }
  outcome.error = testing::internal::GetCapturedStderr();
  outcome.out = testing::internal::GetCapturedStdout();
  return outcome;
}

Fixture::Fixture() {
  WriteReadingModel(Path("base"), {.seed = 7});
  WriteReadingModel(Path("tuned"), {.seed = 7, .drift_seed = 8, .drift = 0.3});
  std::ofstream(Path("prompt.json"))
      << R"({"context":"{context}","suffix":" Question: {input} Answer:","max_new_tokens":6,"stop":["\n"]})";
  WriteAnswers(std::vector<std::string>(questions(), "nothing"));
}

void Fixture::WriteAnswers(const std::vector<std::string>& answers) const {
  std::ofstream file(Path("data.jsonl"));
  std::string context = "The lamp of Mara is green.";
  for (int i = 0; i < questions(); ++i) {
    context += " Number " + std::to_string(i) + " keeps the kettle warm.";
    const nlohmann::json line = {
        {"_id", "q" + std::to_string(i)}, {"context", context}, {"input", "Who keeps it?"}, {"answers", {answers[i]}}};
    file << line.dump() << "\n";
  }
}

Outcome Fixture::Evaluate(const std::string& receiver, const std::string& sender,
                          const std::vector<std::string>& more) const {
  return RunCommand(Joined({"evaluate", "--receiver", Path(receiver), "--sender", Path(sender), "--dataset",
                            Path("data.jsonl"), "--prompt", Path("prompt.json"), "--dtype", "fp32"},
                           more));
}

std::vector<std::string> Fixture::Predictions(const std::string& receiver, const std::string& sender,
                                              const std::vector<std::string>& more) const {
  const std::string path = Path("predictions.jsonl");
  const Outcome outcome = Evaluate(receiver, sender, Joined({"--json", "--predictions", path}, more));
  EXPECT_EQ(outcome.exit_code, 0) << outcome.error;
  std::ifstream file(path);
  std::vector<std::string> texts;
  for (std::string line; std::getline(file, line);) {
    const nlohmann::json prediction = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
    texts.push_back(prediction.value("prediction", "no prediction in " + line));
  }
  EXPECT_EQ(texts.size(), static_cast<size_t>(questions()));
  return texts;
}

Outcome Fixture::Fill(const std::string& model, const std::vector<std::string>& more) const {
  return RunCommand(Joined({"fill", "--model", Path(model), "--dataset", Path("data.jsonl"), "--prompt",
                            Path("prompt.json"), "--dtype", "fp32"},
                           more));
}

}  // namespace droidspeak
