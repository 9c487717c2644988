// SPDX-License-Identifier: Apache-2.0
#include "common/base/machine.h"

#include <sched.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <fstream>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "common/base/bytes.h"

namespace droidspeak {
namespace {

// The value of the first line of /proc/cpuinfo that begins with `field`.
std::string CpuInfo(const std::string& field) {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    if (line.rfind(field, 0) != 0) continue;
    const size_t colon = line.find(": ");
    if (colon != std::string::npos) return line.substr(colon + 2);
  }
  return {};
}

std::string Bf16Instructions() {
  const std::set<std::string> flags = absl::StrSplit(CpuInfo("flags"), ' ');
  std::vector<std::string> found;
  if (flags.contains("avx512_bf16")) found.push_back("AVX512-bf16");
  if (flags.contains("amx_bf16")) found.push_back("AMX-bf16");
  return found.empty() ? "no bf16 instructions" : absl::StrJoin(found, " and ");
}

int UsableCores() {
  cpu_set_t cores;
  return sched_getaffinity(0, sizeof(cores), &cores) == 0 ? CPU_COUNT(&cores) : 1;
}

std::string Kernel() {
  utsname name{};
  uname(&name);
  return absl::StrCat(name.sysname, " ", name.release);
}

}  // namespace

std::string MachineDescription() {
  const std::string model = CpuInfo("model name");
  const uint64_t memory = static_cast<uint64_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  return absl::StrCat(model.empty() ? "unknown CPU" : model, ", ", UsableCores(), " cores, ", FormatBytes(memory), ", ",
                      Bf16Instructions(), ", ", Kernel());
}

nlohmann::json BuildVersions() {
  return {{"droidspeak", DROIDSPEAK_VERSION}, {"compiler", absl::StrCat("gcc ", __VERSION__)}, {"kernel", Kernel()}};
}

std::string DateNow() {
  return absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", absl::Now(), absl::UTCTimeZone());
}

}  // namespace droidspeak
