// SPDX-License-Identifier: Apache-2.0
// A clock that doesn't jump.
#pragma once

#include <chrono>

#include "absl/time/time.h"

namespace droidspeak {

// For durations only: not the time of day.
inline absl::Time SteadyNow() {
  return absl::UnixEpoch() + absl::FromChrono(std::chrono::steady_clock::now().time_since_epoch());
}

}  // namespace droidspeak
