// SPDX-License-Identifier: Apache-2.0
// Engines that serve tiny models which can read and chat, and what tests ask them.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/engine/commands/api_stream.h"
#include "tests/engine/commands/serve_process.h"
#include "tests/support/http_call.h"
#include "tests/support/server_process.h"

namespace droidspeak {

inline constexpr char kCompletions[] = "/v1/completions";
inline constexpr char kChat[] = "/v1/chat/completions";
inline constexpr char kPrompt[] = "The quick brown fox jumps over the lazy dog. Größe, キャッシュ. The model";

// Of prompt and answer: an answer may be long enough to go on for as long as a test wants.
inline constexpr int64_t kPositions = 131072;
// Of the answers whose text is compared with `generate`: below the tokens that a stream's decoder holds back.
inline constexpr int64_t kAnswerTokens = 24;

// The greedy answer to a prompt, text or ids.
nlohmann::json Greedy(const nlohmann::json& prompt);
// An answer that goes on until its client hangs up. Each token is an event of its stream, whatever it spells.
nlohmann::json Endless(const std::string& prompt);
// A conversation of one turn.
nlohmann::json Turn(const std::string& text);
// Of a choice of a whole answer.
std::string TextOf(const nlohmann::json& answer, int64_t index = 0);

// With the folders of models `base` and `tuned`, a drifted variant of it, both of 4 layers; and of `base`'s adapters
// `north` and `south`.
class ServeTest : public ::testing::Test {
 protected:
  ServeTest();

  // Starts an engine that serves `model`, and stops the one before.
  void Serve(const std::vector<std::string>& arguments = {}, const std::string& model = "base");
  [[nodiscard]] const std::string& address() const { return engine_->address(); }

  [[nodiscard]] HttpAnswer Get(const std::string& path, const std::map<std::string, std::string>& headers = {}) const;
  // `fields` are the body; without a model's name it is the engine's.
  [[nodiscard]] HttpAnswer Post(const std::string& path, const nlohmann::json& fields,
                                const std::map<std::string, std::string>& headers = {}) const;
  // A POST whose answer must be 200.
  nlohmann::json Ask(const std::string& path, const nlohmann::json& fields) const;
  // POSTs whose answer is read later, or never.
  [[nodiscard]] std::unique_ptr<HttpCall> Send(const std::string& path, const nlohmann::json& fields) const;
  [[nodiscard]] std::unique_ptr<ApiStream> Stream(const std::string& path, const nlohmann::json& fields) const;

  // A metric by its name, without its prefix, and labels; -1 when it is not there.
  [[nodiscard]] double Metric(const std::string& name) const;
  // False: it does not come to have the value.
  [[nodiscard]] bool WaitForMetric(const std::string& name, double value) const;

  // What `generate` answers greedily to a prompt: its JSON.
  [[nodiscard]] nlohmann::json Generate(const std::string& model, const std::vector<int32_t>& prompt,
                                        const std::string& arguments = "") const;
  [[nodiscard]] std::vector<int32_t> Encode(const std::string& text, bool add_special_tokens) const;
  [[nodiscard]] std::string Decode(const std::vector<int32_t>& ids) const;

  [[nodiscard]] std::string Path(const std::string& name) const { return folder_.path() + "/" + name; }

  TemporaryFolder folder_;
  std::unique_ptr<ServeProcess> engine_;

 private:
  [[nodiscard]] nlohmann::json Body(const nlohmann::json& fields) const;
};

}  // namespace droidspeak
