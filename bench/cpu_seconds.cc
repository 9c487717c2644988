// SPDX-License-Identifier: Apache-2.0
#include "bench/cpu_seconds.h"

#include <ctime>

namespace droidspeak::bench {

double CpuSeconds(int pid) {
  clockid_t clock = 0;
  timespec time{};
  if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &time) != 0) return 0;
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

}  // namespace droidspeak::bench
