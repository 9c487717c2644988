// SPDX-License-Identifier: Apache-2.0
// Requests for chains of blocks, made up to try eviction policies on.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace droidspeak::bench {

inline constexpr uint32_t kNoBlock = UINT32_MAX;

struct TraceBlock {
  uint32_t parent = kNoBlock;  // the block before, if there is one
  uint32_t position = 0;
  uint32_t bytes = 0;
  float seconds = 0;  // to compute it
};

// Each request reads the leading run of its blocks that is there and leaves the rest of them in the cache.
struct Trace {
  std::string name;
  std::vector<TraceBlock> blocks;
  std::vector<std::vector<uint32_t>> requests;  // blocks of one chain, from its first
  uint64_t bytes() const;
  uint64_t longest_request_bytes() const;
};

// By name, the same for the same seed:
//   zipf    documents of popularity Zipf(0.9), of models whose blocks cost and weigh differently
//   agents  agents with prompts in common whose conversations grow and start anew
//   scan    zipf, and a third of the requests for documents that never come again
//   handoff most requests are for something new that is wanted once more, right after; the others as zipf
//   loop    documents in turn, over and over
// NOT_FOUND names them.
[[nodiscard]] absl::StatusOr<Trace> MakeTrace(const std::string& name, uint64_t seed, uint32_t requests);

}  // namespace droidspeak::bench
