// SPDX-License-Identifier: Apache-2.0
// Messages of a program: one logger on standard error, so that standard output stays free for results.
#pragma once

#include <string_view>

#include "absl/status/status.h"
#include "spdlog/spdlog.h"

namespace droidspeak {

// Sends spdlog's default logger to standard error with time, level and program name; `level` is one of trace, debug,
// info, warn, error, off. Call once at start, before threads exist. Thread-safe afterwards (spdlog::info and so on).
[[nodiscard]] absl::Status StartLog(std::string_view program, std::string_view level);

}  // namespace droidspeak
