// SPDX-License-Identifier: Apache-2.0
#include "tests/soak/watch.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "absl/strings/str_cat.h"

namespace droidspeak::soak {
namespace {

// What may come and go without being growth.
constexpr double kResidentFactor = 1.10;
constexpr double kResidentMib = 16;
constexpr double kDescriptors = 8;

double StatusField(pid_t pid, const std::string& name) {
  std::ifstream status(absl::StrCat("/proc/", pid, "/status"));
  for (std::string line; std::getline(status, line);) {
    if (line.rfind(name + ":", 0) == 0) return std::stod(line.substr(name.size() + 1));
  }
  return 0;
}

double Quantile(std::vector<double>& values, double q) {
  if (values.empty()) return 0;
  const size_t at = std::min(values.size() - 1, static_cast<size_t>(q * static_cast<double>(values.size())));
  std::nth_element(values.begin(), values.begin() + static_cast<ptrdiff_t>(at), values.end());
  return values[at];
}

// Whether values rise with time beyond what their own ups and downs explain: the test of Mann and Kendall, one-sided,
// at 1 %. Values of any distribution, in any unit.
bool Rises(const std::vector<double>& values) {
  constexpr double kOnePercent = 2.326;  // the normal distribution's
  double pairs = 0;
  for (size_t later = 1; later < values.size(); ++later) {
    for (size_t i = 0; i < later; ++i) pairs += (values[later] > values[i]) - (values[later] < values[i]);
  }
  const auto n = static_cast<double>(values.size());
  return pairs - 1 > kOnePercent * std::sqrt(n * (n - 1) * (2 * n + 5) / 18);
}

// The median of a field over windows.
template <typename Field>
double Median(const std::vector<Window>& windows, size_t first, size_t last, Field field) {
  std::vector<double> values;
  for (size_t i = first; i < last; ++i) values.push_back(windows[i].*field);
  return Quantile(values, 0.5);
}

}  // namespace

Window Look(pid_t pid, double end_seconds, const std::vector<Tally>& tallies) {
  Window window;
  window.end_seconds = end_seconds;
  window.resident_mib = StatusField(pid, "VmRSS") / 1024;
  window.threads = StatusField(pid, "Threads");
  const std::filesystem::directory_iterator descriptors(absl::StrCat("/proc/", pid, "/fd"));
  window.descriptors = static_cast<double>(std::distance(begin(descriptors), end(descriptors)));
  std::vector<double> all;
  double hits = 0;
  double asked = 0;
  for (const Tally& tally : tallies) {
    all.insert(all.end(), tally.milliseconds.begin(), tally.milliseconds.end());
    hits += static_cast<double>(tally.hits);
    asked += static_cast<double>(tally.hits + tally.misses);
  }
  window.operations = static_cast<double>(all.size());
  window.p50_ms = Quantile(all, 0.5);
  window.p99_ms = Quantile(all, 0.99);
  window.hit_rate = asked > 0 ? hits / asked : 0;
  return window;
}

bool Report(const std::vector<Window>& windows, double latency_factor, double latency_ms) {
  std::printf("%10s %12s %6s %8s %11s %8s %8s %9s\n", "until s", "memory MiB", "files", "threads", "operations",
              "p50 ms", "p99 ms", "hit rate");
  for (const Window& w : windows) {
    std::printf("%10.0f %12.1f %6.0f %8.0f %11.0f %8.2f %8.2f %9.3f\n", w.end_seconds, w.resident_mib, w.descriptors,
                w.threads, w.operations, w.p50_ms, w.p99_ms, w.hit_rate);
  }
  const size_t third = windows.size() / 3;
  const size_t last = windows.size() - third;
  struct Row {
    const char* name;
    double Window::*field;
    double factor;
    double slack;
    bool is_latency;
  };
  const Row rows[] = {{"memory MiB", &Window::resident_mib, kResidentFactor, kResidentMib, false},
                      {"files", &Window::descriptors, 1, kDescriptors, false},
                      {"threads", &Window::threads, 1, 0, false},
                      {"p50 ms", &Window::p50_ms, latency_factor, latency_ms, true},
                      {"p99 ms", &Window::p99_ms, latency_factor, latency_ms, true}};
  std::printf("\n%-12s %12s %12s %12s\n", "median of", "first third", "last third", "at most");
  bool steady = true;
  for (const Row& row : rows) {
    const double before = Median(windows, 0, third, row.field);
    const double after = Median(windows, last, windows.size(), row.field);
    const double most = before * row.factor + row.slack;
    std::vector<double> values;
    for (const Window& window : windows) values.push_back(window.*row.field);
    const bool higher = after > most;
    const bool grown = higher && (!row.is_latency || Rises(values));
    std::printf("%-12s %12.2f %12.2f %12.2f%s\n", row.name, before, after, most,
                grown    ? "  HAS GROWN"
                : higher ? "  higher, but up and down: no trend at 1 %"
                         : "");
    steady &= !grown;
  }
  std::fflush(stdout);
  return steady;
}

}  // namespace droidspeak::soak
