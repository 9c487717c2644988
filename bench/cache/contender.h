// SPDX-License-Identifier: Apache-2.0
// Another client of the server, in a process of its own, that takes what it can get from the server, but yields the
// processor to others, as if it ran elsewhere.
#pragma once

#include <memory>
#include <string>

#include "bench/cache/site.h"
#include "bench/self_process.h"
#include "common/base/thread.h"

namespace droidspeak::bench {

// Not thread-safe. Stops with the object.
class Contender {
 public:
  enum class Kind {
    kGreedy,  // keeps four prefetches and two stores of 64 MiB each under way
    kSlow,    // keeps four first-token fetches of 64 MiB each under way, and runs a tenth of the time
  };
  // Returns when each of its requests has been answered once.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<Contender>> Start(const CacheSite& site,
                                                                        const CacheOptions& options, Kind kind);
  ~Contender();

 private:
  explicit Contender(std::unique_ptr<SelfProcess> process) : process_(std::move(process)) {}

  const std::unique_ptr<SelfProcess> process_;
  std::unique_ptr<Thread> brake_;  // of a slow one
};

}  // namespace droidspeak::bench
