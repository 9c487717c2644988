// SPDX-License-Identifier: Apache-2.0
// Debian's abseil has a string_view of its own that doesn't convert to or from std::string_view. Our interfaces use the
// standard's; these two lines cross over where abseil is called (absl::StrCat(ToAbsl(view), …),
// ToStd(status.message())).
#pragma once

#include <string_view>

#include "absl/strings/string_view.h"

namespace droidspeak {

inline absl::string_view ToAbsl(std::string_view text) {
  return {text.data(), text.size()};
}
inline std::string_view ToStd(absl::string_view text) {
  return {text.data(), text.size()};
}

}  // namespace droidspeak
