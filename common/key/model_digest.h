// SPDX-License-Identifier: Apache-2.0
// What names a model: the digest of its weights and of its adapter, if any. Never a model's *name*: equal names with
// different weights are the classic silent error. The digest of weights is computed by who reads checkpoints (engine/).
#pragma once

#include <optional>
#include <string_view>

#include "common/key/digest.h"

namespace droidspeak {

// SHA-256("droidspeak/model/v1" ‖ lp(weights) ‖ lp(adapter)); adapter empty without one. Free of tenant and layout:
// what profiles, logs and commands name a model by.
Digest ModelDigest(const Digest& weights, const std::optional<Digest>& adapter);

// `weights` of a model that its operator names by `model_id` instead of reading it all (very large checkpoints).
Digest WeightsFromModelId(std::string_view model_id);

}  // namespace droidspeak
