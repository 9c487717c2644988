// SPDX-License-Identifier: Apache-2.0
// Processor time of processes.
#pragma once

namespace droidspeak::bench {

// CPU seconds that all threads of a process have used so far; 0 for one that cannot be read.
double CpuSeconds(int pid);

}  // namespace droidspeak::bench
