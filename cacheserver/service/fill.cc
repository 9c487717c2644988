// SPDX-License-Identifier: Apache-2.0
#include "cacheserver/service/fill.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "cacheserver/service/fetch.h"
#include "cacheserver/service/peer.h"
#include "cacheserver/service/tuning.h"
#include "common/base/status.h"
#include "common/key/checksum.h"

namespace droidspeak {

FillTransfer::FillTransfer(Peer& peer, uint32_t serial, wire::FillRequest request, const Layout& layout, OfferPtr offer,
                           std::vector<Digest> hashes, absl::Time now, absl::Time deadline)
    : Transfer(peer, serial, request.request_id, /*priority=*/1, now, deadline),
      request_(std::move(request)),
      layout_(layout),
      offer_(std::move(offer)),
      hashes_(std::move(hashes)),
      blocks_(static_cast<uint32_t>(hashes_.size())),
      total_(static_cast<uint32_t>(request_.items.size()) * blocks_) {}

uint64_t FillTransfer::PieceBytes(uint32_t index) const {
  return LiesApart(request_.items[ItemOf(index)], layout_) ? layout_.k_bytes() : ExtentBytes(index);
}

uint64_t FillTransfer::PostSome(uint64_t turn_bytes, uint64_t window_bytes) {
  uint64_t posted = 0;
  while (next_ < total_ && posted < turn_bytes) {
    PrepareAhead(std::min(window_bytes, peer()->context().store.arena().bytes() / tuning::kFillPoolShare));
    const Part& part = PartAt(next_);
    if (part.state == Part::State::kAllocating || part.state == Part::State::kWaiting) break;
    if (part.state == Part::State::kReady) {
      if (inflight_bytes() >= window_bytes) break;
      const absl::Status status = PullExtent(next_);
      if (!status.ok()) {
        Stop(status);
        return posted;
      }
      posted += ExtentBytes(next_);
    }
    ++next_;
    PopDone();
  }
  return posted;
}

void FillTransfer::PrepareAhead(uint64_t ahead_bytes) {
  while (prepared_ < total_ && (prepared_ == next_ || prepared_bytes_ < ahead_bytes)) {
    parts_.emplace_back();
    prepared_bytes_ += ExtentBytes(prepared_);
    Allocate(prepared_++);
  }
}

void FillTransfer::Allocate(uint32_t index) {
  const wire::TransferItem& item = request_.items[ItemOf(index)];
  ++due_callbacks_;
  peer()->context().store.AllocateFill(
      offer_, request_.blocks[BlockOf(index)], {item.kind, item.layer},
      [self = std::static_pointer_cast<FillTransfer>(shared_from_this()), inbox = peer()->context().inbox,
       index](absl::StatusOr<FillSlot> slot) {
        auto result = std::make_shared<absl::StatusOr<FillSlot>>(std::move(slot));
        inbox->Post([self, index, result] { self->OnAllocated(index, std::move(*result)); });
      });
}

void FillTransfer::OnAllocated(uint32_t index, absl::StatusOr<FillSlot> slot) {
  --due_callbacks_;
  Part& part = PartAt(index);
  const absl::Time now = SteadyNow();
  if (slot.ok() && !stopped()) {
    part.slot.emplace(*std::move(slot));
    part.state = Part::State::kReady;
    no_room_since_ = absl::InfiniteFuture();
    RetryOne();
  } else if (absl::IsResourceExhausted(slot.status()) && !stopped() &&
             now < std::min(no_room_since_, now) + tuning::kRoomPatience) {
    no_room_since_ = std::min(no_room_since_, now);
    part.state = Part::State::kWaiting;
    waiting_.insert(std::upper_bound(waiting_.begin(), waiting_.end(), index), index);
  } else {
    part.state = Part::State::kDone;
    prepared_bytes_ -= ExtentBytes(index);
    // Not wanted: another filler was first, or the client sent more than the offer asked for. Nothing is lost.
    if (!slot.ok() && !absl::IsFailedPrecondition(slot.status())) Fail(slot.status());
  }
  if (index == next_) WantTurn();
  EndIfDrained();
}

// One at a time: each time that there is no room, the store has looked at its whole index.
void FillTransfer::RetryOne() {
  if (waiting_.empty() || stopped()) return;
  const uint32_t index = waiting_.front();
  waiting_.pop_front();
  PartAt(index).state = Part::State::kAllocating;
  Allocate(index);
}

absl::Status FillTransfer::PullExtent(uint32_t index) {
  const wire::TransferItem& item = request_.items[ItemOf(index)];
  Part& part = PartAt(index);
  part.state = Part::State::kPulling;
  std::byte* const data = part.slot->data();
  RETURN_IF_ERROR(PullPiece(2 * index, data, item.first));
  if (LiesApart(item, layout_)) RETURN_IF_ERROR(PullPiece(2 * index + 1, data + layout_.k_bytes(), item.second));
  return absl::OkStatus();
}

absl::Status FillTransfer::PullPiece(uint32_t piece, std::byte* destination, const wire::Place& place) {
  const uint32_t index = piece / 2;
  const uint64_t bytes = PieceBytes(index);
  const uint64_t stride = request_.items[ItemOf(index)].slot_stride;
  const RemoteRange range{place.region, place.base + request_.slots[BlockOf(index)] * stride, bytes};
  RETURN_IF_ERROR(peer()->connection().Pull(destination, range, Token(piece)));
  ++PartAt(index).pieces;
  AddInflight(bytes);
  return absl::OkStatus();
}

uint64_t FillTransfer::FinishPiece(uint32_t piece, bool ok) {
  const uint32_t index = piece / 2;
  Part& part = PartAt(index);
  part.failed |= !ok;
  if (--part.pieces == 0) {
    // A stopped fill may have asked for half an extent only.
    if (!part.failed && !stopped()) Commit(index);
    part.slot.reset();
    part.state = Part::State::kDone;
    prepared_bytes_ -= ExtentBytes(index);
    PopDone();
    RetryOne();
  }
  return PieceBytes(index);
}

void FillTransfer::Commit(uint32_t index) {
  const wire::TransferItem& item = request_.items[ItemOf(index)];
  const ExtentIdentity identity{hashes_[BlockOf(index)], item.kind, item.layer};
  FillSlot& slot = *PartAt(index).slot;
  const uint64_t expected = request_.checksums[index];
  ServiceMetrics& metrics = peer()->context().metrics;
  if (ExtentChecksum(identity, absl::Span<const std::byte>(slot.data(), ExtentBytes(index))) != expected) {
    metrics.fill_checksum_errors.Increment();
    Fail(absl::DataLossError(absl::StrCat(kKindNames[static_cast<size_t>(item.kind)], " of layer ", item.layer,
                                          ", block ", identity.block.Hex(),
                                          ": the bytes don't have the checksum that was given")));
    return;
  }
  const absl::StatusOr<bool> first = slot.Commit(expected);
  if (!first.ok()) return Fail(first.status());
  ++committed_;
  if (*first) metrics.store_bytes.Increment(static_cast<double>(ExtentBytes(index)));
}

void FillTransfer::Fail(const absl::Status& why) {
  if (first_error_.ok()) first_error_ = why;
}

void FillTransfer::PopDone() {
  while (first_ < next_ && parts_.front().state == Part::State::kDone) {
    parts_.pop_front();
    ++first_;
  }
}

void FillTransfer::DropPrepared() {
  waiting_.clear();
  for (Part& part : parts_) {
    if (part.state != Part::State::kReady && part.state != Part::State::kWaiting) continue;
    part.slot.reset();
    part.state = Part::State::kDone;
  }
}

void FillTransfer::End(const absl::Status& outcome) {
  parts_.clear();
  if (peer() == nullptr) return;
  peer()->context().metrics.store_seconds.Observe(absl::ToDoubleSeconds(SteadyNow() - started()));
  if (cancelled()) return;
  const absl::Status& answer = outcome.ok() ? first_error_ : outcome;
  peer()->Send(wire::Filled{request_id(), committed_, static_cast<uint32_t>(answer.code()), AnswerText(answer)});
}

}  // namespace droidspeak
