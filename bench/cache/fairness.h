// SPDX-License-Identifier: Apache-2.0
// What other clients do to the first tokens of one that asks for little.
#pragma once

#include "bench/cache/site.h"

namespace droidspeak::bench {

// Small first-token fetches, one after the other: alone, beside a greedy client and beside a slow one, in turn. Adds
// their latencies to the report, and how far the 99th percentile stays below twice that of being alone.
[[nodiscard]] absl::Status MeasureFairness(const CacheSite& site, const CacheOptions& options, Report& report);

}  // namespace droidspeak::bench
