// SPDX-License-Identifier: Apache-2.0
#include "cacheserver/service/scheduler.h"

#include <algorithm>
#include <utility>

#include "cacheserver/service/peer.h"
#include "cacheserver/service/tuning.h"

namespace droidspeak {

void Scheduler::Add(Transfer& transfer) {
  ++counts_[transfer.priority()];
  ++transfer.peer()->session()->load.requests;
  Enqueue(transfer);
}

void Scheduler::Remove(Transfer& transfer) {
  --counts_[transfer.priority()];
  --transfer.peer()->session()->load.requests;
}

void Scheduler::Enqueue(Transfer& transfer) {
  if (transfer.queued) return;
  transfer.queued = true;
  turns_[transfer.priority()].Push(transfer.shared_from_this());
}

void Scheduler::Posted(const Transfer& transfer, uint64_t bytes) {
  inflight_bytes_.fetch_add(bytes, std::memory_order_relaxed);
  transfer.peer()->session()->load.inflight_bytes += bytes;
  if (TokenBucket* const bandwidth = BandwidthOf(transfer); bandwidth != nullptr) bandwidth->Take(bytes);
}

void Scheduler::Completed(const Transfer& transfer, uint64_t bytes) {
  inflight_bytes_.fetch_sub(bytes, std::memory_order_relaxed);
  transfer.peer()->session()->load.inflight_bytes -= bytes;
  Retry(at_bound_);
}

void Scheduler::Retry(std::vector<std::shared_ptr<Transfer>>& waiting) {
  for (std::shared_ptr<Transfer>& transfer : waiting) turns_[transfer->priority()].Push(std::move(transfer));
  waiting.clear();
}

void Scheduler::Tick() {
  Retry(out_of_credit_);
}

TokenBucket* Scheduler::BandwidthOf(const Transfer& transfer) {
  const Session& session = *transfer.peer()->session();
  const uint64_t rate = session.quota().bytes_per_second;
  if (rate == Quota{}.bytes_per_second) return nullptr;
  return &bandwidths_.try_emplace(session.tenant(), rate).first->second;
}

bool Scheduler::OutOfCredit(const Transfer& transfer) {
  TokenBucket* const bandwidth = BandwidthOf(transfer);
  return bandwidth != nullptr && !bandwidth->HasCredit(SteadyNow());
}

bool Scheduler::AtBound(const Transfer& transfer) const {
  return inflight_bytes() >= tuning::kServerInflightBytes ||
         transfer.peer()->session()->load.inflight_bytes >= tuning::kSessionInflightBytes;
}

uint64_t Scheduler::PumpPriority(uint32_t priority, uint64_t budget_bytes) {
  TurnQueue& turns = turns_[priority];
  const uint64_t window = priority > 0 && counts_[0] > 0 ? tuning::kYieldWindowBytes : tuning::kRequestWindowBytes;
  uint64_t posted = 0;
  while (!turns.empty() && posted < budget_bytes) {
    const std::shared_ptr<Transfer> transfer = turns.Pop();
    if (transfer->peer() == nullptr) continue;
    if (OutOfCredit(*transfer)) {
      out_of_credit_.push_back(transfer);
      continue;
    }
    if (AtBound(*transfer)) {
      at_bound_.push_back(transfer);
      continue;
    }
    transfer->queued = false;
    const uint64_t bytes = transfer->Post(tuning::kTurnBytes, window);
    posted += bytes;
    if (bytes > 0 && transfer->peer() != nullptr) Enqueue(*transfer);
  }
  return posted;
}

uint64_t Scheduler::Pump() {
  uint64_t posted = PumpPriority(0, tuning::kPumpBytes);
  ahead_bytes_ += posted;
  uint64_t left = tuning::kPumpBytes - std::min(posted, tuning::kPumpBytes);
  if (ahead_bytes_ >= tuning::kAheadBytes) left = std::max(left, tuning::kTurnBytes);
  if (left > 0) {
    ahead_bytes_ = 0;
    posted += PumpPriority(1, left);
  }
  return posted;
}

}  // namespace droidspeak
