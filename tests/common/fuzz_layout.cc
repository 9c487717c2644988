// SPDX-License-Identifier: Apache-2.0
// libFuzzer target: a layout that is accepted is canonical, and its sizes are within the limits.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "common/base/check.h"
#include "common/key/layout.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace droidspeak;  // NOLINT(google-build-using-namespace)
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto layout = Layout::Parse(text);
  if (!layout.ok()) return 0;
  DROIDSPEAK_CHECK(layout->ToString() == text);
  DROIDSPEAK_CHECK(layout->Validate().ok());
  for (const Kind kind : {Kind::kKv, Kind::kE}) {
    DROIDSPEAK_CHECK(layout->extent_bytes(kind) > 0 && layout->extent_bytes(kind) <= Layout::kMaxExtentBytes);
  }
  return 0;
}
