// SPDX-License-Identifier: Apache-2.0
#include "cacheserver/service/transfer.h"

#include "cacheserver/service/peer.h"
#include "cacheserver/service/scheduler.h"

namespace droidspeak {

Transfer::Transfer(Peer& peer, uint32_t serial, uint64_t request_id, uint32_t priority, absl::Time now,
                   absl::Time deadline)
    : peer_(&peer), serial_(serial), request_id_(request_id), priority_(priority), started_(now), deadline_(deadline) {}

uint64_t Transfer::Post(uint64_t turn_bytes, uint64_t window_bytes) {
  if (stopped_ || ended_) return 0;
  const uint64_t posted = PostSome(turn_bytes, window_bytes);
  EndIfDrained();
  return posted;
}

void Transfer::PieceDone(uint32_t piece, const absl::Status& status) {
  const uint64_t bytes = FinishPiece(piece, status.ok());
  inflight_bytes_ -= bytes;
  --inflight_pieces_;
  if (peer_ != nullptr) peer_->context().scheduler.Completed(*this, bytes);
  if (!status.ok()) Stop(status);
  WantTurn();
  EndIfDrained();
}

void Transfer::Stop(const absl::Status& why) {
  if (stopped_ || ended_) return;
  stopped_ = true;
  outcome_ = why;
  DropPrepared();
  EndIfDrained();
}

void Transfer::Cancel() {
  if (ended_) return;
  cancelled_ = true;
  Stop(absl::CancelledError("cancelled by the client"));
}

void Transfer::Detach() {
  peer_ = nullptr;
  Stop(absl::UnavailableError("the connection is gone"));
}

void Transfer::EndIfDrained() {
  if (ended_ || inflight_pieces_ > 0 || due_callbacks_ > 0 || (!stopped_ && !AllPosted())) return;
  ended_ = true;
  const std::shared_ptr<Transfer> keep = shared_from_this();
  End(outcome_);
  if (peer_ != nullptr) peer_->TransferEnded(*this, cancelled_);
  peer_ = nullptr;  // the scheduler may keep this longer than the peer lives
}

void Transfer::AddInflight(uint64_t bytes) {
  inflight_bytes_ += bytes;
  ++inflight_pieces_;
  peer_->context().scheduler.Posted(*this, bytes);
}

void Transfer::WantTurn() {
  if (peer_ != nullptr && !stopped_ && !ended_) peer_->context().scheduler.Enqueue(*this);
}

}  // namespace droidspeak
