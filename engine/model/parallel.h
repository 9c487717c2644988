// SPDX-License-Identifier: Apache-2.0
// Work split over libtorch's threads.
#pragma once

#include <ATen/Parallel.h>

#include <algorithm>
#include <atomic>
#include <cstdint>

namespace droidspeak {

// So many bytes of what stands in memory one thread should at least read: less is not worth waking it.
inline constexpr int64_t kGrainBytes = 128 << 10;

// Calls body(i, own) for each i in [0, count), where `own` is a thread's Own, made when it begins. Threads take runs of
// `step` as they come to them, so that cores which are not equally fast, or not equally free, end together; no more
// threads than there are such runs.
template <typename Own, typename Body>
void ForEachUnit(int64_t count, int64_t step, const Body& body) {
  const int64_t threads = std::min<int64_t>(at::get_num_threads(), (count + step - 1) / step);
  std::atomic<int64_t> next{0};
  at::parallel_for(0, threads, 1, [&](int64_t, int64_t) {
    Own own;
    for (int64_t first = next.fetch_add(step); first < count; first = next.fetch_add(step)) {
      for (int64_t i = first; i < std::min(count, first + step); ++i) body(i, own);
    }
  });
}

// The same where a thread needs nothing of its own: body(i).
template <typename Body>
void ForEachUnit(int64_t count, int64_t step, const Body& body) {
  struct Nothing {};
  ForEachUnit<Nothing>(count, step, [&body](int64_t i, Nothing&) { body(i); });
}

}  // namespace droidspeak
