// SPDX-License-Identifier: Apache-2.0
#include "engine/model/lora.h"

#include <ATen/ops/mm.h>

#include <cmath>
#include <optional>
#include <regex>
#include <set>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "common/base/files.h"
#include "common/base/status.h"
#include "engine/model/json_field.h"
#include "engine/model/projections.h"
#include "engine/model/safetensors.h"
#include "engine/model/weight_reader.h"

namespace droidspeak {
namespace {

using Json = nlohmann::ordered_json;

constexpr uint64_t kConfigLimitBytes = 1 << 20;
constexpr int64_t kMaxRank = 1 << 16;
// Fields whose use a merge of B A cannot express, or that is not built here; each must be absent, false or empty.
constexpr const char* kRefused[] = {"use_dora",
                                    "modules_to_save",
                                    "lora_bias",
                                    "fan_in_fan_out",
                                    "layer_replication",
                                    "target_parameters",
                                    "trainable_token_indices",
                                    "exclude_modules",
                                    "use_qalora",
                                    "alora_invocation_tokens",
                                    "use_bdlora",
                                    "arrow_config",
                                    "megatron_config"};

bool IsNothing(const Json& value) {
  return value.is_null() || value == Json(false) || ((value.is_array() || value.is_object()) && value.empty());
}

// What an adapter may adapt.
struct Module {
  int64_t layer;
  Projection projection;
};
using Modules = std::map<std::string, Module>;  // by path: "model.layers.3.self_attn.q_proj"

Modules ModulesOf(const ModelConfig& config) {
  Modules modules;
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    for (const Projection& projection : AllProjections(config)) {
      modules.emplace(absl::StrCat("model.layers.", layer, ".", projection.module), Module{layer, projection});
    }
  }
  return modules;
}

// "q_proj, k_proj, ...": what an adapter of the model may adapt.
std::string ExpectedModules(const ModelConfig& config) {
  return absl::StrJoin(AllProjections(config), ", ", [](std::string* text, const Projection& projection) {
    const absl::string_view module = projection.module;
    absl::StrAppend(text, module.substr(module.find('.') + 1));
  });
}

// Lists that name what other families have beside what this one has are common, and PEFT takes them.
bool IsOfAnotherFamily(absl::string_view name) {
  for (const bool fused : {false, true}) {
    for (const Projection& projection : AllProjections({.fused_projections = fused})) {
      if (absl::EndsWith(projection.module, absl::StrCat(".", name))) return true;
    }
  }
  return false;
}

// PEFT: `(.*\.)?(PATTERN)$` from the path's beginning.
absl::StatusOr<std::regex> EndPattern(const JsonFields& fields, const std::string& field, const std::string& pattern) {
  try {
    return std::regex(absl::StrCat("(.*\\.)?(", pattern, ")"));
  } catch (const std::regex_error&) {
    return fields.Unexpected(field, absl::StrCat("regular expressions; '", pattern, "' is none"));
  }
}

// Ordered list of (pattern, value): the first that matches wins.
using Patterns = std::vector<std::pair<std::regex, double>>;

absl::StatusOr<Patterns> ParsePatterns(const JsonFields& fields, const std::string& field) {
  Patterns patterns;
  const Json* object = fields.Find(field);
  if (object == nullptr) return patterns;
  if (!object->is_object()) return fields.Unexpected(field, "an object of pattern: number");
  for (const auto& [pattern, value] : object->items()) {
    if (!value.is_number()) return fields.Unexpected(field, "an object of pattern: number");
    ASSIGN_OR_RETURN(std::regex regex, EndPattern(fields, field, pattern));
    patterns.emplace_back(std::move(regex), value.get<double>());
  }
  return patterns;
}

double FirstMatch(const Patterns& patterns, const std::string& module, double fallback) {
  for (const auto& [regex, value] : patterns) {
    if (std::regex_match(module, regex)) return value;
  }
  return fallback;
}

// What adapter_config.json says.
struct AdapterConfig {
  int64_t rank = 0;
  double alpha = 0;
  bool rslora = false;
  Patterns ranks, alphas;
  std::set<std::string> modules;  // full paths that are adapted
};

absl::Status CheckKind(const JsonFields& fields) {
  ASSIGN_OR_RETURN(const std::string type, fields.String("peft_type", ""));
  if (type != "LORA") return fields.Unexpected("peft_type", "\"LORA\"");
  for (const char* field : kRefused) {
    const Json* value = fields.Find(field);
    if (value != nullptr && !IsNothing(*value)) {
      return fields.Unexpected(field, "nothing: adapters that use it are not supported");
    }
  }
  ASSIGN_OR_RETURN(const std::string bias, fields.String("bias", "none"));
  if (bias != "none") return fields.Unexpected("bias", "\"none\"");
  const Json* init = fields.Find("init_lora_weights");  // PiSSA and the like change the base weights too
  if (init != nullptr && init->is_string() && *init != "gaussian" && *init != "eva" && *init != "orthogonal") {
    return fields.Unexpected("init_lora_weights", "true, false, \"gaussian\", \"eva\" or \"orthogonal\"");
  }
  return absl::OkStatus();
}

absl::StatusOr<std::set<int64_t>> ParseLayers(const JsonFields& fields, int64_t layers) {
  std::set<int64_t> chosen;
  const Json* pattern = fields.Find("layers_pattern");
  if (pattern != nullptr && !IsNothing(*pattern) && *pattern != "layers" && *pattern != Json::array({"layers"})) {
    return fields.Unexpected("layers_pattern", "\"layers\"");
  }
  const Json* value = fields.Find("layers_to_transform");
  if (value == nullptr || (value->is_array() && value->empty())) {
    for (int64_t layer = 0; layer < layers; ++layer) chosen.insert(layer);
    return chosen;
  }
  const Json list = value->is_array() ? *value : Json::array({*value});
  for (const Json& layer : list) {
    if (!layer.is_number_unsigned() || layer.get<uint64_t>() >= static_cast<uint64_t>(layers)) {
      return fields.Unexpected("layers_to_transform", absl::StrCat("layers from 0 to ", layers - 1));
    }
    chosen.insert(layer.get<int64_t>());
  }
  return chosen;
}

// The paths that `target_modules` (names, or one regular expression for the whole path) and the layers choose.
absl::StatusOr<std::set<std::string>> ParseTargets(const JsonFields& fields, const ModelConfig& model) {
  ASSIGN_OR_RETURN(const std::set<int64_t> chosen, ParseLayers(fields, model.layers));
  const Json* targets = fields.Find("target_modules");
  const std::string expected = absl::StrCat("names among ", ExpectedModules(model));
  if (targets == nullptr || (!targets->is_string() && !targets->is_array())) {
    return fields.Unexpected("target_modules", expected);
  }
  // A list holds ends of paths as they are; a string is one regular expression for the whole path.
  std::vector<std::string> names;
  std::optional<std::regex> pattern;
  if (targets->is_string()) {
    names.push_back(targets->get<std::string>());
    try {
      pattern.emplace(names[0] == "all-linear" ? ".*" : names[0]);
    } catch (const std::regex_error&) {
      return fields.Unexpected("target_modules", "a regular expression");
    }
  } else {
    for (const Json& target : *targets) {
      if (!target.is_string()) return fields.Unexpected("target_modules", expected);
      names.push_back(target.get<std::string>());
    }
  }
  const Modules all = ModulesOf(model);
  std::set<std::string> modules;
  for (const std::string& name : names) {
    bool matched = false;
    for (const auto& [path, module] : all) {
      const bool matches =
          pattern ? std::regex_match(path, *pattern) : path == name || absl::EndsWith(path, absl::StrCat(".", name));
      if (!matches) continue;
      matched = true;
      // PEFT: a whole path that is listed is adapted in any case.
      if (chosen.contains(module.layer) || (!pattern && path == name)) modules.insert(path);
    }
    if (!matched && !IsOfAnotherFamily(name)) {
      return fields.Unexpected("target_modules", absl::StrCat(expected, "; '", name, "' is none"));
    }
  }
  if (modules.empty()) return fields.Unexpected("target_modules", expected);
  return modules;
}

absl::StatusOr<AdapterConfig> LoadAdapterConfig(const std::string& dir, const ModelConfig& model) {
  const std::string path = dir + "/adapter_config.json";
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kConfigLimitBytes));
  ASSIGN_OR_RETURN(const Json json, ParseJsonObject(text, path));
  const JsonFields fields(json, path);
  RETURN_IF_ERROR(CheckKind(fields));
  AdapterConfig config;
  ASSIGN_OR_RETURN(config.rank, fields.RequiredInteger("r", 1, kMaxRank));
  ASSIGN_OR_RETURN(config.alpha, fields.Number("lora_alpha", 8));
  ASSIGN_OR_RETURN(config.rslora, fields.Boolean("use_rslora", false));
  ASSIGN_OR_RETURN(config.ranks, ParsePatterns(fields, "rank_pattern"));
  ASSIGN_OR_RETURN(config.alphas, ParsePatterns(fields, "alpha_pattern"));
  ASSIGN_OR_RETURN(config.modules, ParseTargets(fields, model));
  return config;
}

// Every tensor must be a LoRA factor of a layer's projection; what the adapter's configuration does not choose is left
// out, as PEFT does.
absl::Status CheckNames(const Checkpoint& checkpoint, const std::string& path, const ModelConfig& model) {
  std::set<std::string> known;
  for (const auto& [module, unused] : ModulesOf(model)) {
    for (const char* factor : {"lora_A", "lora_B"}) {
      known.insert(absl::StrCat("base_model.model.", module, ".", factor, ".weight"));
    }
  }
  for (const auto& [name, tensor] : checkpoint.tensors()) {
    if (!known.contains(name)) {
      return absl::InvalidArgumentError(
          absl::StrCat(path, ": tensor '", name, "' is not supported; expected ",
                       "base_model.model.model.layers.N.….lora_A.weight or lora_B.weight of ", ExpectedModules(model),
                       ", N below ", model.layers));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<int64_t> RankOf(const AdapterConfig& config, const std::string& dir, const std::string& module) {
  const double value = FirstMatch(config.ranks, module, static_cast<double>(config.rank));
  if (value >= 1 && value <= kMaxRank && std::trunc(value) == value) return static_cast<int64_t>(value);
  return absl::InvalidArgumentError(absl::StrCat(dir, "/adapter_config.json: rank_pattern gives ", value, " for ",
                                                 module, "; expected an integer from 1 to ", kMaxRank));
}

}  // namespace

absl::StatusOr<std::unique_ptr<LoraAdapter>> LoraAdapter::Load(const std::string& dir, const ModelConfig& config) {
  ASSIGN_OR_RETURN(const AdapterConfig adapter_config, LoadAdapterConfig(dir, config));
  const std::string path = dir + "/adapter_model.safetensors";
  ASSIGN_OR_RETURN(const Checkpoint checkpoint, Checkpoint::OpenFile(path));
  RETURN_IF_ERROR(CheckNames(checkpoint, path, config));
  auto adapter = std::make_unique<LoraAdapter>();
  const Modules modules = ModulesOf(config);
  for (const std::string& module : adapter_config.modules) {
    const Projection& projection = modules.at(module).projection;
    ASSIGN_OR_RETURN(const int64_t rank, RankOf(adapter_config, dir, module));
    const std::string prefix = absl::StrCat("base_model.model.", module);
    LoraFactors factors;
    ASSIGN_OR_RETURN(factors.a, ReadWeight(checkpoint, path, prefix + ".lora_A.weight", {rank, projection.in}));
    ASSIGN_OR_RETURN(factors.b, ReadWeight(checkpoint, path, prefix + ".lora_B.weight", {projection.out, rank}));
    const double alpha = FirstMatch(adapter_config.alphas, module, adapter_config.alpha);
    const auto divisor = static_cast<double>(rank);
    factors.scale = alpha / (adapter_config.rslora ? std::sqrt(divisor) : divisor);
    adapter->factors_.emplace(module, std::move(factors));
  }
  return adapter;
}

LoraFactors LoraAdapter::Factors(const std::string& module) const {
  const auto found = factors_.find(module);
  return found == factors_.end() ? LoraFactors{} : found->second;
}

at::Tensor LoraAdapter::Delta(const std::string& module) const {
  const LoraFactors factors = Factors(module);
  return factors.a.defined() ? at::mm(factors.b, factors.a).mul_(factors.scale) : at::Tensor();
}

std::string LoraAdapter::CanonicalLines() const {
  std::string lines = "peft_type=LORA\n";
  for (const auto& [module, factors] : factors_) {
    absl::StrAppendFormat(&lines, "%s.scale=%.17g\n", module, factors.scale);
  }
  return lines;
}

}  // namespace droidspeak
