// SPDX-License-Identifier: Apache-2.0
// A coverage question under way: one message a server.
#pragma once

#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "client/src/link.h"
#include "client/src/reactor.h"
#include "droidspeak/client.h"

namespace droidspeak {

// Shared by the asker and the links. Thread-safe.
class CoverageState {
 public:
  CoverageState(Reactor& reactor, size_t blocks) : reactor_(reactor), coverage_(blocks) {}

  // Asks `link` about `blocks` of the question, whose hashes are `hashes`.
  static void Ask(const std::shared_ptr<CoverageState>& self, Link& link, uint32_t namespace_id,
                  std::vector<int> blocks, std::vector<Digest> hashes);
  // What is known at the deadline, or as soon as all have answered. Once.
  std::vector<BlockCoverage> Take(absl::Time deadline);

 private:
  class Part;
  void Answered(const std::vector<int>& blocks, const wire::CoverageAnswer* answer);

  Reactor& reactor_;  // of callers: links may outlive it
  absl::Mutex mutex_;
  int awaited_ ABSL_GUARDED_BY(mutex_) = 0;
  bool taken_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<BlockCoverage> coverage_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace droidspeak
