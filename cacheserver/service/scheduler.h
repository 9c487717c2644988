// SPDX-License-Identifier: Apache-2.0
// Who posts next: turns by priority, fair between the sessions of one, bounded bytes in flight.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "cacheserver/service/token_bucket.h"
#include "cacheserver/service/transfer.h"
#include "cacheserver/service/turn_queue.h"

namespace droidspeak {

// Transfers of priority 0 (first tokens) have their turns before those of priority 1 (stores and prefetches), which
// shrink to a small window meanwhile, but are never left without any turn. A transfer that can post nothing leaves the
// queue until something of its own has happened; one that met the session's or the server's bound waits until bytes of
// anybody have arrived, one whose tenant has used up its bandwidth a while.
//
// Belongs to the data thread, except inflight_bytes(). Doesn't own the transfers, beyond their turns.
class Scheduler {
 public:
  static constexpr uint32_t kPriorities = 2;

  // Counts a transfer that begins, and gives it a turn; Remove() when it ends.
  void Add(Transfer& transfer);
  void Remove(Transfer& transfer);
  // Gives a transfer a turn unless it has one coming.
  void Enqueue(Transfer& transfer);

  // Lets transfers post; returns the bytes posted, 0 when nobody can.
  uint64_t Pump();
  // Time has passed: those whose tenant had used up its bandwidth get turns again.
  void Tick();

  // Called by transfers: bytes went to a transport, or it is done with them.
  void Posted(const Transfer& transfer, uint64_t bytes);
  void Completed(const Transfer& transfer, uint64_t bytes);

  size_t transfers() const { return counts_[0] + counts_[1]; }
  // Thread-safe.
  uint64_t inflight_bytes() const { return inflight_bytes_.load(std::memory_order_relaxed); }

 private:
  bool AtBound(const Transfer& transfer) const;
  bool OutOfCredit(const Transfer& transfer);
  // The bucket of the transfer's tenant; null without a quota.
  TokenBucket* BandwidthOf(const Transfer& transfer);
  void Retry(std::vector<std::shared_ptr<Transfer>>& waiting);
  uint64_t PumpPriority(uint32_t priority, uint64_t budget_bytes);

  std::array<size_t, kPriorities> counts_{};
  std::array<TurnQueue, kPriorities> turns_;
  std::vector<std::shared_ptr<Transfer>> at_bound_;
  std::vector<std::shared_ptr<Transfer>> out_of_credit_;
  uint64_t ahead_bytes_ = 0;  // posted by priority 0 since priority 1 could
  std::atomic<uint64_t> inflight_bytes_{0};
  absl::flat_hash_map<uint32_t, TokenBucket> bandwidths_;  // by tenant, of those that have a quota
};

}  // namespace droidspeak
