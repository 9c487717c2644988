// SPDX-License-Identifier: Apache-2.0
// The families that this build has, and what several of them read alike.
#include "absl/strings/str_cat.h"
#include "common/base/status.h"
#include "engine/model/families/family.h"

namespace droidspeak {
namespace {

using Json = nlohmann::ordered_json;

constexpr int64_t kLongestWindow = int64_t{1} << 24;
constexpr char kFull[] = "full_attention";
constexpr char kSliding[] = "sliding_attention";

}  // namespace

absl::Span<const Family* const> AllFamilies() {
  static const Family* const kAll[] = {&kLlama, &kMistral, &kQwen2, &kQwen3};
  return kAll;
}

absl::Status ReadWindow(const JsonFields& fields, int64_t window, ModelConfig& config) {
  config.windows.assign(config.layers, window);
  const Json* const types = fields.Find("layer_types");
  if (types == nullptr) return absl::OkStatus();
  const char* const expected = window != 0 ? kSliding : kFull;
  bool fits = types->is_array() && types->size() == static_cast<size_t>(config.layers);
  for (const Json& type : *types) fits = fits && type == expected;
  return fits ? absl::OkStatus() : fields.Unexpected("layer_types", absl::StrCat(config.layers, " times ", expected));
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
  bool fits = types->is_array() && types->size() == static_cast<size_t>(config.layers);
  for (const Json& type : *types) {
    fits = fits && (type == kFull || type == kSliding);
    config.windows.push_back(type == kSliding ? window : 0);
  }
  return fits ? absl::OkStatus()
              : fields.Unexpected("layer_types", absl::StrCat(config.layers, " times ", kFull, " or ", kSliding));
}

}  // namespace droidspeak
