// SPDX-License-Identifier: Apache-2.0
// What restless_client stores: chains Chain(kBlocks, seed) of the fixture, seeds below kChains, KV of all layers.
#pragma once

#include <cstddef>
#include <cstdint>

namespace droidspeak::restless {

inline constexpr size_t kBlocks = 24;
inline constexpr uint32_t kChains = 12;

}  // namespace droidspeak::restless
