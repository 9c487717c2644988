// SPDX-License-Identifier: Apache-2.0
#include "tests/support/count.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <iostream>
#include <random>
#include <string>

namespace droidspeak {

bool Nightly() {
  const char* const text = std::getenv("DROIDSPEAK_NIGHTLY");
  return text != nullptr && std::string(text) == "1";
}

int Count(int ci, int nightly) {
#ifdef DROIDSPEAK_SANITIZED
  ci = (ci + 1) / 2;  // everything takes several times as long
#endif
  const int count = Nightly() ? nightly : ci;
  std::cout << "count: " << count << std::endl;
  testing::Test::RecordProperty("count", count);
  return count;
}

uint64_t Seed() {
  uint64_t seed = 1;
  if (const char* const text = std::getenv("DROIDSPEAK_SEED"); text != nullptr) {
    seed = std::strtoull(text, nullptr, 10);
  } else if (Nightly()) {
    seed = std::random_device()();
  }
  std::cout << "seed: " << seed << " (again with DROIDSPEAK_SEED=" << seed << ")" << std::endl;
  testing::Test::RecordProperty("seed", std::to_string(seed));
  return seed;
}

}  // namespace droidspeak
