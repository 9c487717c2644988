// SPDX-License-Identifier: Apache-2.0
// Transfers in the order of their turns, fair between sessions.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>

#include "absl/container/flat_hash_map.h"
#include "cacheserver/service/transfer.h"

namespace droidspeak {

// Sessions take turns, and so do the transfers of each: who asks for many things at once gets no more than others.
// Not thread-safe.
class TurnQueue {
 public:
  bool empty() const { return order_.empty(); }
  // Last of its session. One without a connection is dropped.
  void Push(std::shared_ptr<Transfer> transfer);
  // The first of the session whose turn it is; not when empty.
  std::shared_ptr<Transfer> Pop();

 private:
  std::deque<uint64_t> order_;  // sessions with a line
  absl::flat_hash_map<uint64_t, std::deque<std::shared_ptr<Transfer>>> lines_;
};

}  // namespace droidspeak
