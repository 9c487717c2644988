// SPDX-License-Identifier: Apache-2.0
// The families that this build has, and what several of them read alike.
#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/status.h"
#include "engine/model/families/family.h"

namespace droidspeak {
namespace {

using Json = nlohmann::ordered_json;

constexpr char kFull[] = "full_attention";
constexpr char kSliding[] = "sliding_attention";

// "layer_types" names a kind of attention for each layer, one of `allowed`.
absl::Status CheckLayerTypes(const JsonFields& fields, const Json& types, const ModelConfig& config,
                             const std::vector<std::string>& allowed) {
  bool fits = types.is_array() && types.size() == static_cast<size_t>(config.layers);
  for (const Json& type : types) fits = fits && std::find(allowed.begin(), allowed.end(), type) != allowed.end();
  if (fits) return absl::OkStatus();
  return fields.Unexpected("layer_types", absl::StrCat(config.layers, " times ", absl::StrJoin(allowed, " or ")));
}

}  // namespace

absl::Span<const Family* const> AllFamilies() {
  static const Family* const kAll[] = {&kLlama, &kMistral, &kPhi3, &kQwen2, &kQwen3};
  return kAll;
}

absl::Status RefuseBiases(const JsonFields& fields, absl::string_view family) {
  for (const char* field : {"attention_bias", "mlp_bias"}) {
    ASSIGN_OR_RETURN(const bool bias, fields.Boolean(field, false));
    if (bias) return fields.Unexpected(field, absl::StrCat("false for ", family));
  }
  return absl::OkStatus();
}

absl::Status ReadWindow(const JsonFields& fields, int64_t window, ModelConfig& config) {
  config.windows.assign(config.layers, window);
  const Json* const types = fields.Find("layer_types");
  if (types == nullptr) return absl::OkStatus();
  return CheckLayerTypes(fields, *types, config, {window != 0 ? kSliding : kFull});
}

absl::Status ReadWindowOfLaterLayers(const JsonFields& fields, ModelConfig& config) {
  ASSIGN_OR_RETURN(const bool used, fields.Boolean("use_sliding_window", false));
  ASSIGN_OR_RETURN(const int64_t window, fields.Integer("sliding_window", 4096, 1, kLongestWindow));
  ASSIGN_OR_RETURN(const int64_t first, fields.Integer("max_window_layers", 28, 0, kLongestWindow));
  const Json* const types = fields.Find("layer_types");
  if (!used) return ReadWindow(fields, 0, config);
  if (types == nullptr) {
    for (int64_t layer = 0; layer < config.layers; ++layer) config.windows.push_back(layer < first ? 0 : window);
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(CheckLayerTypes(fields, *types, config, {kFull, kSliding}));
  for (const Json& type : *types) config.windows.push_back(type == kSliding ? window : 0);
  return absl::OkStatus();
}

}  // namespace droidspeak
