// SPDX-License-Identifier: Apache-2.0
// The server's index by itself: with more blocks than memory has room for their extents.
#pragma once

#include <cstdint>
#include <vector>

namespace droidspeak::bench {

// What the index costs when it knows `blocks` blocks of 32 layers, of which one is there.
struct IndexCosts {
  uint64_t blocks = 0;
  std::vector<double> lookup_ns;  // a block of a coverage question, one value a round
  double insert_ns = 0;           // a block, since the size before
  double resident_bytes = 0;      // memory that this process has more than before, a block
  double counted_bytes = 0;       // what the index itself counts, a block
};

// Fills an index to each of `sizes` (ascending), and asks at each for the coverage of chains picked at random, `rounds`
// times, on one core.
std::vector<IndexCosts> MeasureIndex(const std::vector<uint64_t>& sizes, int rounds);

}  // namespace droidspeak::bench
