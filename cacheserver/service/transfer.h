// SPDX-License-Identifier: Apache-2.0
// A request that moves bytes: what fetches and fills have in common.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace droidspeak {

class Peer;

// Life: Post() as the scheduler gives it turns, until everything is posted or it is stopped; it ends, once, when in
// addition no piece is under way on the transport and no callback of the store is due. Only then does it give back
// what it held and answer: so no memory is reused while a transfer reads it. (A fetch that posted everything has
// answered before, since the transport delivers an answer after the bytes posted before it.)
//
// Owned jointly by its peer, the scheduler and callbacks of the store that are due. Belongs to the data thread.
class Transfer : public std::enable_shared_from_this<Transfer> {
 public:
  Transfer(Peer& peer, uint32_t serial, uint64_t request_id, uint32_t priority, absl::Time now, absl::Time deadline);
  virtual ~Transfer() = default;
  Transfer(const Transfer&) = delete;
  Transfer& operator=(const Transfer&) = delete;

  uint32_t serial() const { return serial_; }
  uint64_t request_id() const { return request_id_; }
  uint32_t priority() const { return priority_; }
  absl::Time deadline() const { return deadline_; }
  // The offer that it fills, for fills.
  virtual std::optional<uint64_t> offer_id() const { return std::nullopt; }
  // Null once it has ended or its connection is gone.
  Peer* peer() const { return peer_; }
  // Bytes are with the transport.
  bool under_way() const { return inflight_bytes_ > 0; }

  // Posts about `turn_bytes` while less than `window_bytes` are under way.
  // Returns the bytes posted: 0 means that something else has to happen first.
  uint64_t Post(uint64_t turn_bytes, uint64_t window_bytes);
  // The transport is done with a piece.
  void PieceDone(uint32_t piece, const absl::Status& status);

  // Time has passed: every few milliseconds.
  virtual void Tick(absl::Time) {}

  // Posts nothing more; answers with `why` once all has drained. The first reason counts.
  void Stop(const absl::Status& why);
  // As Stop(), answered by Cancelled.
  void Cancel();
  // The connection is gone: nothing is answered.
  void Detach();
  // Ends the transfer if nothing is left to do or to wait for.
  void EndIfDrained();

  bool queued = false;  // the scheduler's: it has a turn coming

 protected:
  // What Post() does while not stopped.
  virtual uint64_t PostSome(uint64_t turn_bytes, uint64_t window_bytes) = 0;
  // Gives back what a piece used; returns its bytes.
  virtual uint64_t FinishPiece(uint32_t piece, bool ok) = 0;
  // Nothing more to post.
  virtual bool AllPosted() const = 0;
  // Gives back at once what was prepared and not posted.
  virtual void DropPrepared() = 0;
  // Gives back everything, then sends the answer unless the peer is gone or the request was cancelled.
  virtual void End(const absl::Status& outcome) = 0;

  bool stopped() const { return stopped_; }
  bool cancelled() const { return cancelled_; }
  uint64_t inflight_bytes() const { return inflight_bytes_; }
  // A number for the transport that names `piece` of this transfer.
  uint64_t Token(uint32_t piece) const { return uint64_t{serial_} << 32 | piece; }
  // Counts bytes handed to the transport.
  void AddInflight(uint64_t bytes);
  // Asks for another turn.
  void WantTurn();

  absl::Time started() const { return started_; }

  int due_callbacks_ = 0;

 private:
  Peer* peer_;
  const uint32_t serial_;
  const uint64_t request_id_;
  const uint32_t priority_;
  const absl::Time started_;
  const absl::Time deadline_;
  uint64_t inflight_bytes_ = 0;
  int inflight_pieces_ = 0;
  bool stopped_ = false;
  bool cancelled_ = false;
  bool ended_ = false;
  absl::Status outcome_;
};

}  // namespace droidspeak
