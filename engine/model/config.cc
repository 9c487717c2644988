// SPDX-License-Identifier: Apache-2.0
#include "engine/model/config.h"

#include <cmath>
#include <limits>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "common/base/files.h"
#include "common/base/status.h"
#include "common/base/text.h"
#include "engine/model/families/family.h"
#include "engine/model/json_field.h"

namespace droidspeak {
namespace {

using Json = nlohmann::ordered_json;

constexpr uint64_t kConfigLimitBytes = 16 << 20;
constexpr int64_t kMaxSize = int64_t{1} << 24;  // of any one dimension
constexpr int64_t kMaxLayers = 256;             // as in the index of the cache
constexpr int64_t kMaxRopeNumbers = 1 << 28;    // of the table of angles: positions x head_dim

// Fields that would change numerics in a way not built here, with the one value that changes nothing.
struct Neutral {
  const char* field;
  const char* value;  // JSON text; "null" also stands for absent
};
constexpr Neutral kNeutral[] = {{"quantization_config", "null"},    {"partial_rotary_factor", "1.0"},
                                {"attn_logit_softcapping", "null"}, {"final_logit_softcapping", "null"},
                                {"query_pre_attn_scalar", "null"},  {"embedding_multiplier", "1.0"},
                                {"logits_scaling", "1.0"},          {"residual_multiplier", "1.0"},
                                {"attention_multiplier", "null"},   {"use_qk_norm", "false"},
                                {"qk_layernorm", "false"},          {"is_encoder_decoder", "false"},
                                {"no_rope_layers", "null"},         {"num_local_experts", "null"},
                                {"attention_chunk_size", "null"},   {"clip_qkv", "null"},
                                {"parallel_residual", "false"},     {"rope_interleaved", "false"}};

absl::Status CheckNeutral(const JsonFields& fields) {
  for (const Neutral& neutral : kNeutral) {
    const Json* value = fields.Find(neutral.field);
    if (value == nullptr) continue;
    const Json expected = Json::parse(neutral.value);
    if (*value != expected) {
      return fields.Unexpected(neutral.field, absl::StrCat(neutral.value, " (anything else is not supported)"));
    }
  }
  return absl::OkStatus();
}

// Names of all families, by one of their fields.
std::string NamesOf(absl::string_view Family::*name) {
  return absl::StrJoin(AllFamilies(), ", ",
                       [name](std::string* text, const Family* family) { absl::StrAppend(text, family->*name); });
}

const Family* FindFamily(absl::string_view Family::*name, absl::string_view value) {
  for (const Family* family : AllFamilies()) {
    if (family->*name == value) return family;
  }
  return nullptr;
}

absl::StatusOr<const Family*> ParseFamily(const JsonFields& fields) {
  ASSIGN_OR_RETURN(const std::string type, fields.String("model_type", ""));
  const Family* const by_type = FindFamily(&Family::model_type, type);
  const Json* const list = fields.Find("architectures");
  if (list == nullptr) {
    if (by_type != nullptr) return by_type;
    return fields.Unexpected("model_type", absl::StrCat("one of ", NamesOf(&Family::model_type)));
  }
  if (!list->is_array() || list->size() != 1 || !(*list)[0].is_string()) {
    return fields.Unexpected("architectures", "a list of one architecture");
  }
  const Family* const family = FindFamily(&Family::architecture, (*list)[0].get<std::string>());
  if (family == nullptr) {
    return fields.Unexpected("architectures", absl::StrCat("one of ", NamesOf(&Family::architecture)));
  }
  if (!type.empty() && family != by_type) {
    return fields.Unexpected("model_type", absl::StrCat("that of ", family->architecture));
  }
  return family;
}

absl::Status ParseSizes(const JsonFields& fields, const Family& family, ModelConfig& config) {
  ASSIGN_OR_RETURN(config.vocab_size, fields.RequiredInteger("vocab_size", 1, kMaxSize));
  ASSIGN_OR_RETURN(config.hidden_size, fields.RequiredInteger("hidden_size", 1, kMaxSize));
  ASSIGN_OR_RETURN(config.intermediate_size, fields.RequiredInteger("intermediate_size", 1, kMaxSize));
  ASSIGN_OR_RETURN(config.layers, fields.RequiredInteger("num_hidden_layers", 1, kMaxLayers));
  ASSIGN_OR_RETURN(config.heads, fields.RequiredInteger("num_attention_heads", 1, 1 << 16));
  ASSIGN_OR_RETURN(config.kv_heads, fields.Integer("num_key_value_heads",
                                                   family.kv_heads != 0 ? family.kv_heads : config.heads, 1, 1 << 16));
  if (config.heads % config.kv_heads != 0) {
    return fields.Unexpected("num_key_value_heads", absl::StrCat("a divisor of num_attention_heads = ", config.heads));
  }
  if (fields.Find("head_dim") == nullptr && family.head_dim == 0 && config.hidden_size % config.heads != 0) {
    return fields.Unexpected("hidden_size", absl::StrCat("a multiple of num_attention_heads = ", config.heads));
  }
  const int64_t head_dim = family.head_dim != 0 ? family.head_dim : config.hidden_size / config.heads;
  ASSIGN_OR_RETURN(config.head_dim, fields.Integer("head_dim", head_dim, 2, 4096));
  if (config.head_dim % 2 != 0) return fields.Unexpected("head_dim", "an even number");
  ASSIGN_OR_RETURN(config.max_positions, fields.Integer("max_position_embeddings", family.max_positions, 1, kMaxSize));
  if (config.max_positions > kMaxRopeNumbers / config.head_dim) {
    return fields.Unexpected("max_position_embeddings", absl::StrCat("at most ", kMaxRopeNumbers / config.head_dim,
                                                                     " for a head_dim of ", config.head_dim));
  }
  ASSIGN_OR_RETURN(config.rms_norm_eps, fields.Number("rms_norm_eps", 1e-6));
  if (config.rms_norm_eps < 0) return fields.Unexpected("rms_norm_eps", "a non-negative number");
  ASSIGN_OR_RETURN(config.tied_embeddings, fields.Boolean("tie_word_embeddings", false));
  ASSIGN_OR_RETURN(const std::string activation, fields.String("hidden_act", "silu"));
  if (activation != "silu") return fields.Unexpected("hidden_act", "silu");
  return absl::OkStatus();
}

absl::Status ParseLlama3(const JsonFields& rope, const JsonFields& top, RopeConfig& config) {
  for (const char* field : {"low_freq_factor", "high_freq_factor"}) {
    if (rope.Find(field) == nullptr) return rope.Unexpected(field, "a number (RoPE type llama3)");
  }
  ASSIGN_OR_RETURN(config.low_freq_factor, rope.Number("low_freq_factor", 1.0));
  ASSIGN_OR_RETURN(config.high_freq_factor, rope.Number("high_freq_factor", 4.0));
  if (config.low_freq_factor <= 0) return rope.Unexpected("low_freq_factor", "a positive number");
  if (config.high_freq_factor <= config.low_freq_factor) {
    return rope.Unexpected("high_freq_factor", "more than low_freq_factor");
  }
  const JsonFields& original = top.Find("original_max_position_embeddings") != nullptr ? top : rope;
  ASSIGN_OR_RETURN(config.original_max_positions,
                   original.RequiredInteger("original_max_position_embeddings", 1, kMaxSize));
  return absl::OkStatus();
}

// Before version 5 of transformers: rope_theta at the top, rope_scaling with `type` or `rope_type`. From 5 on: all in
// rope_parameters. Read as version 5 reads both: rope_scaling goes first unless it is empty, and either may hold theta.
absl::Status ParseRope(const JsonFields& top, RopeConfig& config) {
  const Json* scaling = top.Find("rope_scaling");
  const bool is_scaling = scaling != nullptr && !(scaling->is_object() && scaling->empty());
  const std::string name = is_scaling ? "rope_scaling" : "rope_parameters";
  const Json* object = top.Find(name);
  if (object != nullptr && !object->is_object()) return top.Unexpected(name, "an object");
  const Json empty = Json::object();
  const std::string source = absl::StrCat(top.source(), ": ", name);
  const JsonFields rope(object == nullptr ? empty : *object, source);
  for (const auto& [field, value] : (object == nullptr ? empty : *object).items()) {
    if (value.is_object()) return rope.Unexpected(field, "one set of RoPE parameters for all layers");
  }
  const JsonFields& theta = rope.Find("rope_theta") != nullptr ? rope : top;
  ASSIGN_OR_RETURN(config.theta, theta.Number("rope_theta", 10000.0));
  if (!(config.theta > 0)) return theta.Unexpected("rope_theta", "a positive number");
  RETURN_IF_ERROR(CheckNeutral(rope));
  const char* type_field = rope.Find("rope_type") != nullptr || rope.Find("type") == nullptr ? "rope_type" : "type";
  ASSIGN_OR_RETURN(const std::string type, rope.String(type_field, "default"));
  if (type == "default") return absl::OkStatus();
  if (type != "linear" && type != "llama3") return rope.Unexpected(type_field, "default, linear or llama3");
  config.kind = type == "linear" ? RopeKind::kLinear : RopeKind::kLlama3;
  if (rope.Find("factor") == nullptr) return rope.Unexpected("factor", absl::StrCat("a number (RoPE type ", type, ")"));
  ASSIGN_OR_RETURN(config.factor, rope.Number("factor", 1.0));
  if (!(config.factor >= 1)) return rope.Unexpected("factor", "a number of at least 1");
  return type == "llama3" ? ParseLlama3(rope, top, config) : absl::OkStatus();
}

absl::string_view RopeName(RopeKind kind) {
  switch (kind) {
    case RopeKind::kDefault:
      return "default";
    case RopeKind::kLinear:
      return "linear";
    case RopeKind::kLlama3:
      return "llama3";
  }
  return "";
}

}  // namespace

absl::StatusOr<ModelConfig> ParseModelConfig(std::string_view json, std::string_view source) {
  ASSIGN_OR_RETURN(const Json object, ParseJsonObject(ToAbsl(json), ToAbsl(source)));
  const JsonFields fields(object, ToAbsl(source));
  ModelConfig config;
  ASSIGN_OR_RETURN(const Family* const family, ParseFamily(fields));
  config.architecture = std::string(family->architecture);
  RETURN_IF_ERROR(ParseSizes(fields, *family, config));
  RETURN_IF_ERROR(CheckNeutral(fields));
  RETURN_IF_ERROR(ParseRope(fields, config.rope));
  RETURN_IF_ERROR(family->read(fields, config));
  for (const char* field : {"dtype", "torch_dtype"}) {  // only said, not used: tensors carry their own
    ASSIGN_OR_RETURN(const std::string dtype, fields.String(field, "float32"));
    if (dtype != "float32" && dtype != "bfloat16" && dtype != "float16") {
      return fields.Unexpected(field, "float32, bfloat16 or float16");
    }
  }
  return config;
}

absl::StatusOr<ModelConfig> LoadModelConfig(const std::string& dir) {
  const std::string path = dir + "/config.json";
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kConfigLimitBytes));
  return ParseModelConfig(text, path);
}

// The list is closed: a new line here is a new version of the digest. Doubles are written with 17 digits, so that equal
// lines mean equal numbers. Token ids of begin and end, dtype and the longest sequence do not change numerics.
std::string ModelConfig::CanonicalLines() const {
  std::string lines;
  const auto line = [&lines](absl::string_view key, const auto& value) {
    absl::StrAppend(&lines, key, "=", value, "\n");
  };
  const auto number = [](double value) { return absl::StrFormat("%.17g", value); };
  line("architecture", architecture);  // which says what the family has that no line names
  line("vocab_size", vocab_size);
  line("hidden_size", hidden_size);
  line("intermediate_size", intermediate_size);
  line("num_hidden_layers", layers);
  line("num_attention_heads", heads);
  line("num_key_value_heads", kv_heads);
  line("head_dim", head_dim);
  line("rms_norm_eps", number(rms_norm_eps));
  line("hidden_act", "silu");
  line("tie_word_embeddings", tied_embeddings ? "true" : "false");
  line("attention_bias", qkv_bias ? "true" : "false");
  line("mlp_bias", mlp_bias ? "true" : "false");
  line("rope_type", RopeName(rope.kind));
  line("rope_theta", number(rope.theta));
  line("rope_factor", number(rope.factor));
  line("rope_low_freq_factor", number(rope.low_freq_factor));
  line("rope_high_freq_factor", number(rope.high_freq_factor));
  line("rope_original_max_position_embeddings", rope.original_max_positions);
  line("sliding_windows", absl::StrJoin(windows, ","));
  return lines;
}

}  // namespace droidspeak
