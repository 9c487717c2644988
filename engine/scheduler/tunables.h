// SPDX-License-Identifier: Apache-2.0
// The scheduler's constants, and why they have the values they have.
#pragma once

#include <cstdint>

namespace droidspeak {

// Rows of a prompt that are read at once while answers are being written: each waits for that long with its next token.
// Enough to keep the GEMMs of a CPU busy.
inline constexpr int64_t kSharedStepTokens = 512;

// Slots that an answer gets beyond its tokens, each time: moving or finding room is rare, and little is reserved in
// vain.
inline constexpr int64_t kGrowthSlots = 256;

// What an answer gets when there are no more: moving is not so rare then.
inline constexpr int64_t kLeastGrowthSlots = 16;

// Prompts whose context is on its way before they are read: the next one's arrives while one is computed. Each holds
// staging memory.
inline constexpr int64_t kOpenContexts = 3;

}  // namespace droidspeak
