// SPDX-License-Identifier: Apache-2.0
#include "engine/tokenizer/compare.h"

#include <algorithm>
#include <optional>
#include <string>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace droidspeak {
namespace {

std::string Spelling(const std::optional<std::string>& token) {
  return token.has_value() ? absl::StrCat("\"", absl::Utf8SafeCEscape(*token), "\"") : "no token";
}

}  // namespace

absl::StatusOr<TokenizerComparison> CompareTokenizers(const Tokenizer& sender, const Tokenizer& receiver) {
  const TokenizerComparison result = {sender.vocabulary_size(), receiver.vocabulary_size(),
                                      std::min(sender.vocabulary_size(), receiver.vocabulary_size())};
  for (int32_t id = 0; id < result.common_size; ++id) {
    const std::optional<std::string> sent = sender.TokenString(id);
    const std::optional<std::string> received = receiver.TokenString(id);
    if (sent != received) {
      return absl::FailedPreconditionError(
          absl::StrCat("the tokenizers of sender and receiver differ: token id ", id, " is ", Spelling(sent),
                       " to the sender and ", Spelling(received), " to the receiver; expected the same string"));
    }
  }
  return result;
}

int64_t LeadingCommonTokens(absl::Span<const int32_t> ids, int32_t common_size) {
  return std::find_if(ids.begin(), ids.end(), [&](int32_t id) { return id >= common_size; }) - ids.begin();
}

}  // namespace droidspeak
