// SPDX-License-Identifier: Apache-2.0
#include "engine/model/config.h"

#include <algorithm>

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

// Fields that would change numerics in a way not built here, with the one value that changes nothing.
struct Neutral {
  const char* field;
  const char* value;  // JSON text; "null" also stands for absent
};
constexpr Neutral kNeutral[] = {{"quantization_config", "null"},
                                {"lm_head_bias", "false"},
                                {"attn_logit_softcapping", "null"},
                                {"final_logit_softcapping", "null"},
                                {"query_pre_attn_scalar", "null"},
                                {"embedding_multiplier", "1.0"},
                                {"logits_scaling", "1.0"},
                                {"residual_multiplier", "1.0"},
                                {"attention_multiplier", "null"},
                                {"use_qk_norm", "false"},
                                {"qk_layernorm", "false"},
                                {"is_encoder_decoder", "false"},
                                {"no_rope_layers", "null"},
                                {"num_local_experts", "null"},
                                {"attention_chunk_size", "null"},
                                {"clip_qkv", "null"},
                                {"parallel_residual", "false"},
                                {"rope_interleaved", "false"},
                                {"full_attn_mod", "1"},
                                {"interpolate_factor", "1"}};

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
  ASSIGN_OR_RETURN(config.rms_norm_eps, fields.Number("rms_norm_eps", family.rms_norm_eps));
  if (config.rms_norm_eps < 0) return fields.Unexpected("rms_norm_eps", "a non-negative number");
  ASSIGN_OR_RETURN(config.tied_embeddings, fields.Boolean("tie_word_embeddings", false));
  ASSIGN_OR_RETURN(const std::string activation, fields.String("hidden_act", "silu"));
  if (activation != "silu") return fields.Unexpected("hidden_act", "silu");
  return absl::OkStatus();
}

// Reads the rotary embedding, and lengthens `max_positions` by what it stretches.
absl::Status ParseRope(const JsonFields& fields, const Family& family, ModelConfig& config) {
  RETURN_IF_ERROR(ReadRope(fields, family.rope, config.head_dim, config.max_positions, config.rope));
  double stretched = 0;
  if (config.rope.kind == RopeKind::kLinear || config.rope.kind == RopeKind::kDynamic) {
    stretched = static_cast<double>(config.max_positions) * config.rope.factor;
  } else if (config.rope.kind == RopeKind::kYarn) {
    stretched = static_cast<double>(config.rope.original_max_positions) * config.rope.factor;
  }
  stretched = std::min(stretched, static_cast<double>(kMaxSize));
  config.max_positions = std::max(config.max_positions, static_cast<int64_t>(stretched));
  return absl::OkStatus();
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
  RETURN_IF_ERROR(ParseRope(fields, *family, config));
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
  lines += RopeLines(rope, head_dim);
  line("sliding_windows", absl::StrJoin(windows, ","));
  return lines;
}

}  // namespace droidspeak
