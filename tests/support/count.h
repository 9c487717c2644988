// SPDX-License-Identifier: Apache-2.0
// How often a randomised test tries, and from which seed.
//
// DROIDSPEAK_NIGHTLY=1 in the environment: the nightly counts and a new seed each time, else those of CI (half of them
// in builds with sanitizers) and seed 1. DROIDSPEAK_SEED=N: that seed. Both are printed and recorded with the test's
// result.
#pragma once

#include <cstdint>

namespace droidspeak {

// What a test of a running test case tries: `ci` or `nightly` times.
int Count(int ci, int nightly);

// The seed of a running test case. A failure names it, as does the output.
uint64_t Seed();

// True for the nightly counts.
bool Nightly();

}  // namespace droidspeak
