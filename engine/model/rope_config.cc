// SPDX-License-Identifier: Apache-2.0
#include "engine/model/rope_config.h"

#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "common/base/status.h"

namespace droidspeak {
namespace {

using Json = nlohmann::ordered_json;

constexpr int64_t kMaxPositions = int64_t{1} << 24;

struct NamedKind {
  absl::string_view name;
  RopeKind kind;
};
constexpr NamedKind kKinds[] = {{"default", RopeKind::kDefault}, {"linear", RopeKind::kLinear},
                                {"dynamic", RopeKind::kDynamic}, {"llama3", RopeKind::kLlama3},
                                {"yarn", RopeKind::kYarn},       {"longrope", RopeKind::kLongrope}};

absl::string_view NameOf(RopeKind kind) {
  for (const NamedKind& one : kKinds) {
    if (one.kind == kind) return one.name;
  }
  return "";
}

absl::StatusOr<RopeKind> ReadKind(const JsonFields& rope, bool yarn_is_longrope) {
  const char* field = rope.Find("rope_type") != nullptr || rope.Find("type") == nullptr ? "rope_type" : "type";
  const absl::StatusOr<std::string> given = rope.String(field, "default");
  if (!given.ok()) return given.status();
  const bool old = *given == "su" || (yarn_is_longrope && *given == "yarn");  // when Phi-3 came out
  const absl::string_view name = old ? "longrope" : absl::string_view(*given);
  for (const NamedKind& one : kKinds) {
    if (one.name == name) return one.kind;
  }
  return rope.Unexpected(field, absl::StrJoin(kKinds, ", ", [](std::string* text, const NamedKind& one) {
                           absl::StrAppend(text, one.name);
                         }));
}

// The set of fields that the kind reads, and where config.json may hold them.
class RopeReader {
 public:
  RopeReader(const JsonFields& top, const JsonFields& rope, const RopeTraits& traits, int64_t head_dim,
             int64_t max_positions, RopeConfig& config)
      : top_(top), rope_(rope), traits_(traits), head_dim_(head_dim), max_positions_(max_positions), config_(config) {}

  absl::Status Read() {
    ASSIGN_OR_RETURN(config_.kind, ReadKind(rope_, traits_.yarn_is_longrope));
    RETURN_IF_ERROR(ReadTheta());
    RETURN_IF_ERROR(ReadRotatedDims());
    switch (config_.kind) {
      case RopeKind::kDefault:
        return absl::OkStatus();
      case RopeKind::kLinear:
        return ReadFactor();
      case RopeKind::kDynamic:
        return ReadDynamic();
      case RopeKind::kLlama3:
        return ReadLlama3();
      case RopeKind::kYarn:
        return ReadYarn();
      case RopeKind::kLongrope:
        return ReadLongrope();
    }
    return absl::OkStatus();
  }

 private:
  // Where a field stands that may stand at the top, too.
  const JsonFields& Place(const std::string& field) const { return rope_.Find(field) != nullptr ? rope_ : top_; }

  absl::Status ReadTheta() {
    ASSIGN_OR_RETURN(config_.theta, Place("rope_theta").Number("rope_theta", config_.theta));
    if (config_.theta > 0) return absl::OkStatus();
    return Place("rope_theta").Unexpected("rope_theta", "a positive number");
  }

  absl::Status ReadRotatedDims() {
    constexpr char kField[] = "partial_rotary_factor";
    const JsonFields& place = Place(kField);
    ASSIGN_OR_RETURN(const double factor, place.Number(kField, 1.0));
    if (factor != 1.0 && !traits_.partial) return place.Unexpected(kField, "1.0 (anything else is not supported)");
    if (!(factor > 0 && factor <= 1)) return place.Unexpected(kField, "more than 0 and at most 1");
    config_.rotated_dims = static_cast<int64_t>(static_cast<double>(head_dim_) * factor);
    if (config_.rotated_dims >= 2 && config_.rotated_dims % 2 == 0) return absl::OkStatus();
    return place.Unexpected(
        kField, absl::StrCat("what leaves an even number of a head's ", head_dim_, " dimensions to rotate"));
  }

  absl::Status ReadFactor() {
    if (rope_.Find("factor") == nullptr) {
      return rope_.Unexpected("factor", absl::StrCat("a number (RoPE type ", NameOf(config_.kind), ")"));
    }
    ASSIGN_OR_RETURN(config_.factor, rope_.Number("factor", 1.0));
    return config_.factor >= 1 ? absl::OkStatus() : rope_.Unexpected("factor", "a number of at least 1");
  }

  // The top-level field wins, as in transformers; of neither, `fallback`, where that is not 0.
  absl::Status ReadOriginal(int64_t fallback) {
    constexpr char kField[] = "original_max_position_embeddings";
    const bool at_top = top_.Find(kField) != nullptr;
    if (!at_top && traits_.original_max_positions != 0) {
      config_.original_max_positions = traits_.original_max_positions;
      return absl::OkStatus();
    }
    const JsonFields& place = at_top ? top_ : rope_;
    ASSIGN_OR_RETURN(config_.original_max_positions, fallback == 0 ? place.RequiredInteger(kField, 1, kMaxPositions)
                                                                   : place.Integer(kField, fallback, 1, kMaxPositions));
    return absl::OkStatus();
  }

  absl::Status ReadDynamic() {
    config_.original_max_positions = max_positions_;
    if (config_.rotated_dims <= 2) return top_.Unexpected("head_dim", "more than 2 (RoPE type dynamic)");
    return ReadFactor();
  }

  absl::Status ReadLlama3() {
    RETURN_IF_ERROR(ReadFactor());
    for (const char* field : {"low_freq_factor", "high_freq_factor"}) {
      if (rope_.Find(field) == nullptr) return rope_.Unexpected(field, "a number (RoPE type llama3)");
    }
    ASSIGN_OR_RETURN(config_.low_freq_factor, rope_.Number("low_freq_factor", 1.0));
    ASSIGN_OR_RETURN(config_.high_freq_factor, rope_.Number("high_freq_factor", 4.0));
    if (config_.low_freq_factor <= 0) return rope_.Unexpected("low_freq_factor", "a positive number");
    if (config_.high_freq_factor <= config_.low_freq_factor) {
      return rope_.Unexpected("high_freq_factor", "more than low_freq_factor");
    }
    return ReadOriginal(0);
  }

  // `given` unless the file says another.
  absl::Status ReadAttentionFactor(double given) {
    ASSIGN_OR_RETURN(config_.attention_factor, rope_.Number("attention_factor", given));
    if (config_.attention_factor > 0) return absl::OkStatus();
    return rope_.Unexpected("attention_factor", "a positive number");
  }

  absl::Status ReadYarn() {
    RETURN_IF_ERROR(ReadFactor());
    RETURN_IF_ERROR(ReadOriginal(max_positions_));
    if (config_.theta <= 1) return Place("rope_theta").Unexpected("rope_theta", "more than 1 (RoPE type yarn)");
    const auto scale_of = [this](double scale) {
      return config_.factor <= 1 ? 1.0 : 0.1 * scale * std::log(config_.factor) + 1.0;
    };
    ASSIGN_OR_RETURN(const double mscale, rope_.Number("mscale", 0));
    ASSIGN_OR_RETURN(const double mscale_all_dim, rope_.Number("mscale_all_dim", 0));
    const bool both = mscale != 0 && mscale_all_dim != 0;
    RETURN_IF_ERROR(ReadAttentionFactor(both ? scale_of(mscale) / scale_of(mscale_all_dim) : scale_of(1)));
    ASSIGN_OR_RETURN(config_.truncate, rope_.Boolean("truncate", true));
    for (const auto& [field, value] : {std::pair("beta_fast", &config_.beta_fast), {"beta_slow", &config_.beta_slow}}) {
      ASSIGN_OR_RETURN(const double given, rope_.Number(field, 0));
      if (given < 0) return rope_.Unexpected(field, "a positive number");
      if (given != 0) *value = given;  // transformers takes its default for 0
    }
    return absl::OkStatus();
  }

  absl::Status ReadFactors(const char* field, std::vector<double>& factors) const {
    const auto pairs = static_cast<size_t>(config_.rotated_dims / 2);
    const Json* const list = rope_.Find(field);
    bool fits = list != nullptr && list->is_array() && list->size() == pairs;
    for (size_t i = 0; fits && i < pairs; ++i) {
      fits = (*list)[i].is_number() && (*list)[i].get<double>() > 0;
      if (fits) factors.push_back((*list)[i].get<double>());
    }
    return fits ? absl::OkStatus() : rope_.Unexpected(field, absl::StrCat("a list of ", pairs, " positive numbers"));
  }

  absl::Status ReadLongrope() {
    RETURN_IF_ERROR(ReadOriginal(max_positions_));
    RETURN_IF_ERROR(ReadFactors("short_factor", config_.short_factors));
    RETURN_IF_ERROR(ReadFactors("long_factor", config_.long_factors));
    const auto original = static_cast<double>(config_.original_max_positions);
    ASSIGN_OR_RETURN(const double factor, rope_.Number("factor", static_cast<double>(max_positions_) / original));
    if (factor > 1 && original <= 1) return top_.Unexpected("original_max_position_embeddings", "more than 1");
    return ReadAttentionFactor(factor <= 1 ? 1.0 : std::sqrt(1 + std::log(factor) / std::log(original)));
  }

  const JsonFields& top_;
  const JsonFields& rope_;
  const RopeTraits& traits_;
  const int64_t head_dim_, max_positions_;
  RopeConfig& config_;
};

}  // namespace

// Before version 5 of transformers: rope_theta at the top, rope_scaling with `type` or `rope_type`. From 5 on: all in
// rope_parameters. Read as version 5 reads both: rope_scaling goes first unless it is empty, and either may hold theta.
absl::Status ReadRope(const JsonFields& top, const RopeTraits& traits, int64_t head_dim, int64_t max_positions,
                      RopeConfig& config) {
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
  return RopeReader(top, rope, traits, head_dim, max_positions, config).Read();
}

// Lines that only some kinds have stand behind those that all have: the kind's name says which follow, so that models
// of the other kinds keep their digests.
std::string RopeLines(const RopeConfig& config, int64_t head_dim) {
  std::string lines;
  const auto line = [&lines](absl::string_view key, const auto& value) {
    absl::StrAppend(&lines, "rope_", key, "=", value, "\n");
  };
  const auto number = [](double value) { return absl::StrFormat("%.17g", value); };
  const auto numbers = [&number](const std::vector<double>& values) {
    return absl::StrJoin(values, ",", [&](std::string* text, double value) { absl::StrAppend(text, number(value)); });
  };
  line("type", NameOf(config.kind));
  line("theta", number(config.theta));
  line("factor", number(config.factor));
  line("low_freq_factor", number(config.low_freq_factor));
  line("high_freq_factor", number(config.high_freq_factor));
  line("original_max_position_embeddings", config.original_max_positions);
  if (config.rotated_dims != head_dim) line("rotated_dims", config.rotated_dims);
  if (config.kind == RopeKind::kYarn || config.kind == RopeKind::kLongrope) {
    line("attention_factor", number(config.attention_factor));
  }
  if (config.kind == RopeKind::kYarn) {
    line("beta_fast", number(config.beta_fast));
    line("beta_slow", number(config.beta_slow));
    line("truncate", config.truncate ? "true" : "false");
  }
  if (config.kind == RopeKind::kLongrope) {
    line("short_factor", numbers(config.short_factors));
    line("long_factor", numbers(config.long_factors));
  }
  return lines;
}

bool DependsOnReach(const RopeConfig& config) {
  return config.kind == RopeKind::kLongrope || config.kind == RopeKind::kDynamic;
}

Regime RegimeOf(const RopeConfig& config, int64_t reach) {
  if (!DependsOnReach(config)) return Regime::kNone;
  return reach <= config.original_max_positions ? Regime::kShort : Regime::kLong;
}

bool IsSharable(const RopeConfig& config, int64_t reach) {
  return config.kind != RopeKind::kDynamic || reach <= config.original_max_positions;
}

}  // namespace droidspeak
