// SPDX-License-Identifier: Apache-2.0
// Options that the engine's commands share, and what they turn into.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/base/tls_files.h"
#include "engine/model/model.h"
#include "engine/prefill/plan.h"

namespace droidspeak {

// A wrong combination of options, or a value that can't be right: exit code 2.
[[nodiscard]] absl::Status UsageStatus(const std::string& message);
// The exit code: 0, 1, or 2 for statuses made by UsageStatus. A message goes to standard error.
[[nodiscard]] int Report(const std::string& command, const absl::Status& status);

// --dtype, --block-tokens, --servers, and the TLS files for these.
struct EngineOptions {
  std::string dtype = "bf16";
  int64_t block_tokens = 256;
  std::string servers;  // empty = none
  TlsFiles tls;

  void AddTo(CLI::App& command);
  [[nodiscard]] absl::StatusOr<Dtype> ParsedDtype() const;
};

// --plan a,b,c and --runs 4-8,12-13.
struct PlanOptions {
  std::vector<std::string> triples;
  std::vector<std::string> runs;

  // With `repeatable` any number of each, otherwise one in all.
  void AddTo(CLI::App& command, bool repeatable);
  [[nodiscard]] bool empty() const { return triples.empty() && runs.empty(); }
  // A plan that can't be is a usage error.
  [[nodiscard]] absl::StatusOr<std::vector<Plan>> Parse(int64_t layers) const;
};

// --keep-e: "all", "none" or "4,12", ascending and each once. What can't be is a usage error.
[[nodiscard]] absl::StatusOr<std::vector<int64_t>> ParseKeepE(const std::string& text, int64_t layers);

// OK if a file can be made in the folder of `file`, which `flag` names: better known before everything has been
// computed.
[[nodiscard]] absl::Status CheckFolderOf(const std::string& flag, const std::string& file);

// OK if the receiver can read the sender's tensors; else the field of the configuration that differs.
[[nodiscard]] absl::Status CheckSameShape(const ModelConfig& sender, const ModelConfig& receiver);

// One more than the last token id that a context may have: within both vocabularies, and within the sender's tokenizer
// where the receiver's has more. FAILED_PRECONDITION names the first id that means another string to the other
// tokenizer.
[[nodiscard]] absl::StatusOr<int64_t> CommonVocabulary(const std::string& sender_dir, const ModelConfig& sender,
                                                       const std::string& receiver_dir, const ModelConfig& receiver);

// Ids are in the vocabulary, and `tokens` + `more` fit the model's positions. `name` says whose tokens they are.
[[nodiscard]] absl::Status CheckTokens(const std::string& name, absl::Span<const int32_t> tokens, int64_t more,
                                       const ModelConfig& config);

// A named sequence of token ids.
struct NamedTokens {
  std::string name;
  std::vector<int32_t> tokens;
};
// The 1-D I64 or I32 tensors of a safetensors file, in the order of their names. Errors name file and tensor.
[[nodiscard]] absl::StatusOr<std::vector<NamedTokens>> ReadTokens(const std::string& path);

}  // namespace droidspeak
