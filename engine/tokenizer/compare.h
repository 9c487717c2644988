// SPDX-License-Identifier: Apache-2.0
// Whether a sender's token ids mean the same text to a receiver: the condition for reusing its cache at all.
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/tokenizer/tokenizer.h"

namespace droidspeak {

struct TokenizerComparison {
  int32_t sender_size = 0;
  int32_t receiver_size = 0;
  int32_t common_size = 0;  // ids below this have the same string in both; a context ends before the first id beyond
};

// Compares id -> string on the range of ids that both have. FailedPrecondition naming the first id that differs and
// both strings.
[[nodiscard]] absl::StatusOr<TokenizerComparison> CompareTokenizers(const Tokenizer& sender, const Tokenizer& receiver);

// How many leading ids are below `common_size`: the context must not reach further, so it ends before the block that
// holds the next one.
int64_t LeadingCommonTokens(absl::Span<const int32_t> ids, int32_t common_size);

}  // namespace droidspeak
