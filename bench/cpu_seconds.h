// SPDX-License-Identifier: Apache-2.0
// Processor time of processes.
#pragma once

namespace droidspeak::bench {

// CPU seconds that a process has used so far, of user and kernel, in steps of 10 ms; 0 for one that cannot be read.
double CpuSeconds(int pid);

}  // namespace droidspeak::bench
