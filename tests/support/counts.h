// SPDX-License-Identifier: Apache-2.0
// How often tests of reliability do what they do.
#pragma once

#include <cstdlib>
#include <string_view>

namespace droidspeak {

// `nightly` when the environment has DROIDSPEAK_NIGHTLY=1, else `ci`.
inline int NightlyCount(int ci, int nightly) {
  const char* set = std::getenv("DROIDSPEAK_NIGHTLY");
  return set != nullptr && std::string_view(set) == "1" ? nightly : ci;
}

}  // namespace droidspeak
