// SPDX-License-Identifier: Apache-2.0
// A sender's run: it reads a context and leaves its tensors on the cache servers.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/model/model.h"
#include "engine/prefill/remote_cache.h"

namespace droidspeak {

// What a sender reads: the beginning of a sequence.
struct FillRequest {
  absl::Span<const int32_t> tokens;
  int64_t reach = 0;              // of the whole sequence (rope_config.h); less than the tokens: these alone
  std::vector<int64_t> e_layers;  // whose E is kept
  bool durable = false;           // it has to survive a crash of the servers
};

// Runs `model` over the full blocks of the tokens and stores what the servers want: KV of all layers, E of some.
// Starts behind the leading blocks that are there already. Returns the number of tokens it computed; none when the
// sequence's tensors are of no use to another one.
[[nodiscard]] absl::StatusOr<int64_t> FillContext(RemoteCache& servers, const Model& model,
                                                  const ModelNamespaces& namespaces, const FillRequest& request);

}  // namespace droidspeak
