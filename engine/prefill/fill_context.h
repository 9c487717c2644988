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

// Runs `model` over the full blocks of `tokens` and stores what the servers want: KV of all layers, E of `e_layers`.
// Starts behind the leading blocks that are there already. Returns the number of tokens it computed.
[[nodiscard]] absl::StatusOr<int64_t> FillContext(RemoteCache& servers, const Model& model, const NamespaceHandle& ns,
                                                  absl::Span<const int32_t> tokens,
                                                  const std::vector<int64_t>& e_layers, bool durable);

}  // namespace droidspeak
