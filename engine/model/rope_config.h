// SPDX-License-Identifier: Apache-2.0
// Rotary embedding as config.json describes it, with every default written out.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "common/key/layout.h"
#include "engine/model/json_field.h"

namespace droidspeak {

enum class RopeKind { kDefault, kLinear, kDynamic, kLlama3, kYarn, kLongrope };

// Plain data; fields that a kind does not use keep their defaults.
struct RopeConfig {
  RopeKind kind = RopeKind::kDefault;
  int64_t rotated_dims = 0;  // leading dimensions of a head that are rotated, an even number; the others stay
  double theta = 10000.0;
  double factor = 1.0;                 // linear, dynamic, llama3, yarn
  double low_freq_factor = 1.0;        // llama3
  double high_freq_factor = 4.0;       // llama3
  int64_t original_max_positions = 0;  // dynamic, llama3, yarn, longrope
  double attention_factor = 1.0;       // yarn, longrope: of cosines and sines
  double beta_fast = 32.0;             // yarn
  double beta_slow = 1.0;              // yarn
  bool truncate = true;                // yarn
  std::vector<double> short_factors;   // longrope, one for each pair of dimensions
  std::vector<double> long_factors;    // longrope
};

// What a family makes of the fields.
struct RopeTraits {
  int64_t original_max_positions = 0;  // stands at the top of config.json even where that leaves it out; 0: it doesn't
  bool partial = false;                // "partial_rotary_factor" may be less than 1
  bool yarn_is_longrope = false;       // by an old name
};

// Reads "rope_theta", "rope_scaling" and "rope_parameters" of a config.json, in the spellings of transformers before
// and from version 5. Kinds that are not built here are refused by name. `head_dim` and `max_positions` are the
// model's.
[[nodiscard]] absl::Status ReadRope(const JsonFields& top, const RopeTraits& traits, int64_t head_dim,
                                    int64_t max_positions, RopeConfig& config);

// Lines "key=value\n" for the model digest: a part of ModelConfig::CanonicalLines.
[[nodiscard]] std::string RopeLines(const RopeConfig& config, int64_t head_dim);

// Some kinds depend on how long a sequence gets: every key and all that attention makes of it. What a request gets is
// fixed when it begins, by its *reach*: the tokens that the model has read when the answer is complete, that is those
// of the prompt and of the answer but its last.

// Whether anything depends on the reach.
[[nodiscard]] bool DependsOnReach(const RopeConfig& config);
// kNone when nothing does.
[[nodiscard]] Regime RegimeOf(const RopeConfig& config, int64_t reach);
// Whether all sequences of the regime are rotated alike, so that one may use what another has left. Not so for
// `dynamic` beyond the original length.
[[nodiscard]] bool IsSharable(const RopeConfig& config, int64_t reach);

}  // namespace droidspeak
