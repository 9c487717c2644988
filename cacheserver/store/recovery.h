// SPDX-License-Identifier: Apache-2.0
// Opens the tier on disk and rebuilds the index from its directory.
#pragma once

#include "absl/status/status.h"
#include "cacheserver/store/core.h"
#include "cacheserver/store/pins.h"

namespace droidspeak {

// Only rows are read here; extents are verified when they are. Rows that make no sense (unknown namespace, layers
// beyond its layout) are left out, and pins of blocks that are gone.
[[nodiscard]] absl::Status OpenDisk(StoreCore& core, PinTable& pins);

}  // namespace droidspeak
