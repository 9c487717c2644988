// SPDX-License-Identifier: Apache-2.0
// Families of models: what each has that Llama, from which all of them come, has not. A file a family; another one is
// added to AllFamilies() too (docs/models.md).
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "engine/model/config.h"
#include "engine/model/json_field.h"

namespace droidspeak {

// How config.json names a family, and what it means there.
struct Family {
  absl::string_view architecture;  // in "architectures", and in the model digest
  absl::string_view model_type;
  // What transformers takes where config.json says nothing.
  int64_t kv_heads = 0;  // 0: as many as heads
  int64_t head_dim = 0;  // 0: hidden_size / heads
  int64_t max_positions = 0;
  double rms_norm_eps = 1e-6;
  RopeTraits rope;
  // Reads the rest, biases, norms and windows, into a config whose sizes and RoPE are known.
  absl::Status (*read)(const JsonFields& fields, ModelConfig& config);
};

extern const Family kLlama;
extern const Family kMistral;
extern const Family kPhi3;
extern const Family kQwen2;
extern const Family kQwen3;
absl::Span<const Family* const> AllFamilies();

// "attention_bias" and "mlp_bias", where they stand, must be false; `family` is for the message.
[[nodiscard]] absl::Status RefuseBiases(const JsonFields& fields, absl::string_view family);

inline constexpr int64_t kLongestWindow = int64_t{1} << 24;  // in keys
// All layers see `window` keys (0: all of them); "layer_types", where there is one, must say so too.
[[nodiscard]] absl::Status ReadWindow(const JsonFields& fields, int64_t window, ModelConfig& config);
// "use_sliding_window" turns on "sliding_window" for the layers that "layer_types" names, else for those from
// "max_window_layers" on.
[[nodiscard]] absl::Status ReadWindowOfLaterLayers(const JsonFields& fields, ModelConfig& config);

}  // namespace droidspeak
