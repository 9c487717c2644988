// SPDX-License-Identifier: Apache-2.0
// Random valid messages of every type, for round trips and as seeds for mutation.
#pragma once

#include <cstddef>
#include <random>

#include "common/transport/messages.h"

namespace droidspeak::wire {

// A message of the alternative `index` with up to `max_count` elements in each of its arrays.
Message RandomMessage(std::mt19937_64& random, size_t index, uint32_t max_count);

}  // namespace droidspeak::wire
