// SPDX-License-Identifier: Apache-2.0
// What benchmarks say about where and when they ran.
#pragma once

#include <string>

#include "nlohmann/json.hpp"

namespace droidspeak {

// One line: CPU model, cores this process may use, memory, the bf16 instructions it has, kernel.
std::string MachineDescription();

// {"droidspeak": …, "compiler": …, "kernel": …}; callers add the libraries they measure.
nlohmann::json BuildVersions();

// The time now in UTC, "2026-01-31T12:00:00Z".
std::string DateNow();

}  // namespace droidspeak
