// SPDX-License-Identifier: Apache-2.0
// Sizes in bytes as people write them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace droidspeak {

// "4GiB", "100 MB", "512KiB", "1.5GiB", "4096" or "0": a number and B, KiB, MiB, GiB, TiB (powers of 1024) or kB, MB,
// GB, TB (powers of 1000), case ignored. INVALID_ARGUMENT says what was expected.
[[nodiscard]] absl::StatusOr<uint64_t> ParseBytes(std::string_view text);

// "4.0 GiB", "512 B".
std::string FormatBytes(uint64_t bytes);

}  // namespace droidspeak
