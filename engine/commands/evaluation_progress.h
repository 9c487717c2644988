// SPDX-License-Identifier: Apache-2.0
// How far a long command is, on standard error.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "common/base/log.h"

namespace droidspeak {

// Counts `total` things called `name` and says so now and then, and at the end. Used by one thread.
class Progress {
 public:
  Progress(std::string name, int64_t total) : name_(std::move(name)), total_(total) {}

  void Advance() {
    ++done_;
    const absl::Time now = absl::Now();
    if (now - said_ < kInterval && done_ < total_) return;
    said_ = now;
    spdlog::info("{} of {} {}, {:.2f} a second", done_, total_, name_, static_cast<double>(done_) / Seconds());
  }
  [[nodiscard]] double Seconds() const { return absl::ToDoubleSeconds(absl::Now() - started_); }

 private:
  static constexpr absl::Duration kInterval = absl::Seconds(5);

  const std::string name_;
  const int64_t total_;
  const absl::Time started_ = absl::Now();
  absl::Time said_ = started_;
  int64_t done_ = 0;
};

}  // namespace droidspeak
