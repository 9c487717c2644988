// SPDX-License-Identifier: Apache-2.0
// Refuses a forward whose rows or ranges would read or write outside of the model or the slab.
#pragma once

#include "absl/status/status.h"
#include "engine/model/forward.h"

namespace droidspeak {

[[nodiscard]] absl::Status CheckForward(const Model& model, const KvSlab& slab, const ForwardInput& input);

}  // namespace droidspeak
