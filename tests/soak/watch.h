// SPDX-License-Identifier: Apache-2.0
// What the soak sees of the server in a window of time, and whether it grows.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "tests/soak/load.h"

namespace droidspeak::soak {

struct Window {
  double end_seconds = 0;  // since the beginning
  double resident_mib = 0;
  double descriptors = 0;
  double threads = 0;
  double operations = 0;
  double p50_ms = 0;
  double p99_ms = 0;
  double hit_rate = 0;
};

// Looks at a process now; `tallies` are of the window that ends.
Window Look(pid_t pid, double end_seconds, const std::vector<Tally>& tallies);

// The windows as a table, the first and the last third beside each other, and what has grown, if anything. Returns
// whether nothing has. Latencies have grown when those of the last third are more than `latency_factor` of the first's
// and `latency_ms`, and they rise from window to window more than chance explains: at 80 % of what a server can do, a
// stall of a third of a second makes thirty requests late, and the p99 of windows without any trend differ tenfold.
bool Report(const std::vector<Window>& windows, double latency_factor, double latency_ms);

}  // namespace droidspeak::soak
