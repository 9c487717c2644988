// SPDX-License-Identifier: Apache-2.0
#include "engine/commands/options.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <iostream>
#include <limits>
#include <set>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/config.h"
#include "common/base/files.h"
#include "common/base/status.h"
#include "engine/model/safetensors.h"
#include "engine/tokenizer/compare.h"
#include "engine/tokenizer/tokenizer.h"

namespace droidspeak {
namespace {

constexpr char kUsagePayload[] = "droidspeak/usage";

// Ids as stored, widened; `name` says where they are from.
template <typename Stored>
absl::StatusOr<std::vector<int32_t>> Ids(const StoredTensor& tensor, const std::string& name) {
  std::vector<int32_t> ids(tensor.bytes.size() / sizeof(Stored));
  for (size_t i = 0; i < ids.size(); ++i) {
    Stored id;
    std::memcpy(&id, tensor.bytes.data() + i * sizeof(Stored), sizeof(Stored));
    if (id < 0 || id > std::numeric_limits<int32_t>::max()) {
      return absl::InvalidArgumentError(absl::StrCat(name, ": ", id, " at ", i, " is no token id"));
    }
    ids[i] = static_cast<int32_t>(id);
  }
  return ids;
}

}  // namespace

absl::Status UsageStatus(const std::string& message) {
  absl::Status status = absl::InvalidArgumentError(message);
  status.SetPayload(kUsagePayload, absl::Cord());
  return status;
}

int Report(const std::string& command, const absl::Status& status) {
  if (status.ok()) return kExitOk;
  std::cerr << "droidspeak-engine " << command << ": " << status.message() << std::endl;
  return status.GetPayload(kUsagePayload).has_value() ? kExitUsage : kExitFailed;
}

absl::StatusOr<std::vector<int64_t>> ParseKeepE(const std::string& text, int64_t layers) {
  std::set<int64_t> chosen;
  if (text == "all") {
    for (int64_t layer = 0; layer < layers; ++layer) chosen.insert(layer);
  } else if (text != "none") {
    for (const absl::string_view part : absl::StrSplit(text, ',')) {
      int64_t layer = 0;
      if (!absl::SimpleAtoi(part, &layer) || layer < 0 || layer >= layers) {
        return UsageStatus(absl::StrCat("--keep-e ", text, ": '", part,
                                        "' is no layer; expected all, none or layers below ", layers, " such as 4,12"));
      }
      chosen.insert(layer);
    }
  }
  return std::vector<int64_t>(chosen.begin(), chosen.end());
}

absl::Status CheckFolderOf(const std::string& flag, const std::string& file) {
  std::filesystem::path folder = std::filesystem::path(file).parent_path();
  if (folder.empty()) folder = ".";
  if (access(folder.c_str(), W_OK) != 0) return ErrnoStatus(errno, absl::StrCat(flag, " ", file));
  return absl::OkStatus();
}

void EngineOptions::AddTo(CLI::App& command) {
  command.add_option("--dtype", dtype, "number format of weights, activations and cache")
      ->check(CLI::IsMember({"fp32", "bf16"}))
      ->capture_default_str();
  command.add_option("--block-tokens", block_tokens, "tokens of a block on the cache servers")
      ->check(CLI::Range(int64_t{1}, int64_t{Layout::kMaxBlockTokens}))
      ->capture_default_str();
  command.add_option("--servers", servers, "cache servers: [NAME=]HOST:PORT,...");
  AddTlsOptions(command, tls, "this client of the servers");
}

absl::StatusOr<Dtype> EngineOptions::ParsedDtype() const {
  return ParseDtype(dtype);
}

void PlanOptions::AddTo(CLI::App& command, bool repeatable) {
  CLI::Option* triple = command.add_option("--plan", triples, "recompute [0,a) and [b,c), reuse the rest: a,b,c");
  CLI::Option* run = command.add_option("--runs", runs, "recompute these runs of layers, reuse the rest: 4-8,12-13");
  for (CLI::Option* option : {triple, run}) {
    option->allow_extra_args(false)->take_all();
    if (!repeatable) option->expected(1)->multi_option_policy(CLI::MultiOptionPolicy::Throw);
  }
  if (!repeatable) triple->excludes(run);
}

absl::StatusOr<std::vector<Plan>> PlanOptions::Parse(int64_t layers) const {
  std::vector<Plan> plans;
  for (const std::string& text : triples) {
    absl::StatusOr<Plan> plan = Plan::ParseTriple(text, layers);
    if (!plan.ok()) return UsageStatus(absl::StrCat("--plan: ", plan.status().message()));
    plans.push_back(*std::move(plan));
  }
  for (const std::string& text : runs) {
    absl::StatusOr<Plan> plan = Plan::ParseRuns(text, layers);
    if (!plan.ok()) return UsageStatus(absl::StrCat("--runs: ", plan.status().message()));
    plans.push_back(*std::move(plan));
  }
  return plans;
}

absl::Status CheckSameShape(const ModelConfig& sender, const ModelConfig& receiver) {
  const auto differs = [](const char* field, int64_t of_sender, int64_t of_receiver) {
    return absl::FailedPreconditionError(absl::StrCat("the sender's ", field, " is ", of_sender, ", the receiver's ",
                                                      of_receiver, ": its cache cannot be reused"));
  };
  if (sender.layers != receiver.layers) return differs("num_hidden_layers", sender.layers, receiver.layers);
  if (sender.hidden_size != receiver.hidden_size) {
    return differs("hidden_size", sender.hidden_size, receiver.hidden_size);
  }
  if (sender.kv_heads != receiver.kv_heads) {
    return differs("num_key_value_heads", sender.kv_heads, receiver.kv_heads);
  }
  if (sender.head_dim != receiver.head_dim) return differs("head_dim", sender.head_dim, receiver.head_dim);
  return absl::OkStatus();
}

absl::StatusOr<int64_t> CommonVocabulary(const std::string& sender_dir, const ModelConfig& sender,
                                         const std::string& receiver_dir, const ModelConfig& receiver) {
  const int64_t common = std::min(sender.vocab_size, receiver.vocab_size);
  if (!Tokenizer::Exists(sender_dir) || !Tokenizer::Exists(receiver_dir)) return common;
  ASSIGN_OR_RETURN(const std::unique_ptr<Tokenizer> of_sender, Tokenizer::Load(sender_dir));
  ASSIGN_OR_RETURN(const std::unique_ptr<Tokenizer> of_receiver, Tokenizer::Load(receiver_dir));
  ASSIGN_OR_RETURN(const TokenizerComparison comparison, CompareTokenizers(*of_sender, *of_receiver));
  // Ids that neither tokenizer has (padding of the embeddings) are ids like others; those that only the receiver's has
  // mean nothing to the sender.
  return comparison.sender_size < comparison.receiver_size ? std::min<int64_t>(common, comparison.sender_size) : common;
}

absl::Status CheckTokens(const std::string& name, absl::Span<const int32_t> tokens, int64_t more,
                         const ModelConfig& config) {
  const int64_t length = static_cast<int64_t>(tokens.size());
  if (length == 0) return UsageStatus(absl::StrCat(name, " has no tokens; expected at least one"));
  for (int64_t i = 0; i < length; ++i) {
    if (tokens[i] < 0 || tokens[i] >= config.vocab_size) {
      return UsageStatus(absl::StrCat(name, ": token ", tokens[i], " at ", i,
                                      " is not below the model's vocabulary of ", config.vocab_size));
    }
  }
  if (length > config.max_positions || more > config.max_positions - length) {
    const std::string wanted = more > 0 ? absl::StrCat(" and ", more, " to generate") : "";
    return UsageStatus(absl::StrCat(name, ": ", length, " tokens", wanted, " are more than the model's limit of ",
                                    config.max_positions));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<NamedTokens>> ReadTokens(const std::string& path) {
  ASSIGN_OR_RETURN(const std::unique_ptr<SafetensorsFile> file, SafetensorsFile::Open(path));
  std::vector<NamedTokens> all;
  for (const auto& [name, tensor] : file->tensors()) {
    const std::string where = absl::StrCat(path, ": tensor '", name, "'");
    if (tensor.shape.size() != 1 || (tensor.dtype != "I64" && tensor.dtype != "I32")) {
      return absl::InvalidArgumentError(absl::StrCat(where, " is ", tensor.dtype, " with ", tensor.shape.size(),
                                                     " dimensions; expected 1-D I64 or I32"));
    }
    NamedTokens tokens{name, {}};
    ASSIGN_OR_RETURN(tokens.tokens, tensor.dtype == "I64" ? Ids<int64_t>(tensor, where) : Ids<int32_t>(tensor, where));
    all.push_back(std::move(tokens));
  }
  if (all.empty()) return absl::InvalidArgumentError(absl::StrCat(path, " has no tensors; expected token ids"));
  return all;
}

}  // namespace droidspeak
