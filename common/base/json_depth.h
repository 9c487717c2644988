// SPDX-License-Identifier: Apache-2.0
// A limit that JSON from files needs: copying and printing nested values recurses.
#pragma once

#include <string_view>

namespace droidspeak {

// No file of ours or of Hugging Face nests nearly as deep.
inline constexpr int kMaxJsonDepth = 64;

// Whether arrays and objects in `text` nest deeper than kMaxJsonDepth. Looks at brackets outside of strings only: what
// is no JSON gets some answer, and is for the parser to refuse.
bool NestsTooDeep(std::string_view text);

}  // namespace droidspeak
