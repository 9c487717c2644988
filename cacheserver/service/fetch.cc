// SPDX-License-Identifier: Apache-2.0
#include "cacheserver/service/fetch.h"

#include <algorithm>
#include <limits>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "cacheserver/service/peer.h"
#include "cacheserver/service/tuning.h"
#include "common/base/status.h"

namespace droidspeak {
namespace {

bool PlaceFits(const wire::Place& place, uint64_t stride, uint32_t last_slot, uint64_t bytes) {
  uint64_t offset = 0;
  return !__builtin_mul_overflow(stride, last_slot, &offset) && !__builtin_add_overflow(offset, place.base, &offset) &&
         !__builtin_add_overflow(offset, bytes, &offset);
}

}  // namespace

absl::Status ValidateItems(const std::vector<wire::TransferItem>& items, const std::vector<uint32_t>& slots,
                           const Layout& layout) {
  const uint32_t last_slot = slots.empty() ? 0 : *std::max_element(slots.begin(), slots.end());
  for (size_t i = 0; i < items.size(); ++i) {
    const wire::TransferItem& item = items[i];
    if (item.layer >= layout.layers) {
      return absl::InvalidArgumentError(
          absl::StrCat("item ", i, ": layer ", item.layer, " of a layout of ", layout.layers, " layers"));
    }
    const bool kv = item.kind == Kind::kKv;
    const uint64_t bytes = kv ? layout.k_bytes() : layout.e_bytes();
    if (!PlaceFits(item.first, item.slot_stride, last_slot, bytes) ||
        (kv && !PlaceFits(item.second, item.slot_stride, last_slot, bytes))) {
      return absl::InvalidArgumentError(absl::StrCat("item ", i, ": its last slot lies beyond any region"));
    }
  }
  return absl::OkStatus();
}

bool LiesApart(const wire::TransferItem& item, const Layout& layout) {
  return item.kind == Kind::kKv &&
         (item.second.region != item.first.region || item.second.base != item.first.base + layout.k_bytes());
}

FetchTransfer::FetchTransfer(Peer& peer, uint32_t serial, wire::FetchRequest request, const Layout& layout,
                             References references, absl::Time now, absl::Time deadline)
    : Transfer(peer, serial, request.request_id, request.priority, now, deadline),
      request_(std::move(request)),
      layout_(layout),
      blocks_(static_cast<uint32_t>(references.size())),
      total_(static_cast<uint32_t>(request_.items.size()) * blocks_),
      limit_(blocks_),
      references_(std::move(references)) {
  run_.request_id = request_id();
}

uint64_t FetchTransfer::PostSome(uint64_t turn_bytes, uint64_t window_bytes) {
  uint64_t posted = 0;
  while (next_ < total_ && posted < turn_bytes) {
    // Whoever has to wait for its bandwidth must not keep others' staging buffers meanwhile.
    const bool waits = peer()->session()->quota().bytes_per_second != Quota{}.bytes_per_second;
    PrepareAhead(waits ? 0 : window_bytes + tuning::kReadAheadBytes);
    Part& part = PartAt(next_);
    if (part.state == Part::State::kLoading) break;
    const uint64_t bytes = ExtentBytes(next_);
    if (part.state == Part::State::kReady && BlockOf(next_) < limit_) {
      if (inflight_bytes() >= window_bytes) break;
      const absl::Status status = PostExtent(next_);
      if (!status.ok()) {
        Stop(status);
        return posted;
      }
      posted += bytes;
    } else if (part.state == Part::State::kReady) {
      part = Part{};
      prepared_bytes_ -= bytes;
    }
    ++next_;
    PopDone();
  }
  if (posted < turn_bytes || AllPosted()) FlushRun();  // nothing follows soon
  if (AllPosted()) Answer(missing_);
  return posted;
}

void FetchTransfer::PrepareAhead(uint64_t ahead_bytes) {
  while (prepared_ < total_ && (prepared_ == next_ || prepared_bytes_ < ahead_bytes)) {
    parts_.push_back(Prepare(prepared_));
    ++prepared_;
  }
}

FetchTransfer::Part FetchTransfer::Prepare(uint32_t index) {
  Part part;
  const uint32_t block = BlockOf(index);
  if (block >= limit_) return part;
  const wire::TransferItem& item = request_.items[ItemOf(index)];
  const ExtentSelector selector{item.kind, item.layer};
  ExtentStore& store = peer()->context().store;
  prepared_bytes_ += ExtentBytes(index);
  part.extent = store.ReadHost(references_, block, selector);
  if (part.extent.has_value()) {
    part.state = Part::State::kReady;
    return part;
  }
  part.state = Part::State::kLoading;
  ++due_callbacks_;
  store.Load(references_, block, selector,
             [self = std::static_pointer_cast<FetchTransfer>(shared_from_this()), inbox = peer()->context().inbox,
              index](absl::StatusOr<HostExtent> loaded) {
               // std::function wants to be copyable; the extent is not. It goes before the references in `self`.
               auto result = std::make_shared<absl::StatusOr<HostExtent>>(std::move(loaded));
               inbox->Post([self, index, result] { self->OnLoaded(index, std::move(*result)); });
             });
  return part;
}

void FetchTransfer::OnLoaded(uint32_t index, absl::StatusOr<HostExtent> loaded) {
  --due_callbacks_;
  Part& part = PartAt(index);
  if (stopped() || !loaded.ok()) {
    part = Part{};
    prepared_bytes_ -= ExtentBytes(index);
    if (!stopped() && BlockOf(index) < limit_) {
      limit_ = BlockOf(index);
      missing_ = loaded.status();
    }
  } else {
    part.extent.emplace(*std::move(loaded));
    part.state = Part::State::kReady;
  }
  if (index == next_) WantTurn();
  EndIfDrained();
}

absl::Status FetchTransfer::PostExtent(uint32_t index) {
  const wire::TransferItem& item = request_.items[ItemOf(index)];
  Part& part = PartAt(index);
  part.state = Part::State::kPosted;
  const std::byte* data = part.extent->data();
  RETURN_IF_ERROR(PostPiece(2 * index, data, item.first));
  if (LiesApart(item, layout_)) RETURN_IF_ERROR(PostPiece(2 * index + 1, data + layout_.k_bytes(), item.second));
  Announce(index, part.extent->checksum());
  return absl::OkStatus();
}

absl::Status FetchTransfer::PostPiece(uint32_t piece, const std::byte* data, const wire::Place& place) {
  const uint32_t index = piece / 2;
  const uint64_t bytes = PieceBytes(index);
  const uint64_t stride = request_.items[ItemOf(index)].slot_stride;
  const RemoteRange range{place.region, place.base + request_.slots[BlockOf(index)] * stride, bytes};
  RETURN_IF_ERROR(peer()->connection().Push(data, range, Token(piece)));
  ++PartAt(index).pieces;
  AddInflight(bytes);
  return absl::OkStatus();
}

void FetchTransfer::Announce(uint32_t index, uint64_t checksum) {
  const uint32_t item = ItemOf(index);
  if (run_.item != item) FlushRun();
  if (run_.checksums.empty()) {
    run_.item = item;
    run_.first_block = BlockOf(index);
  }
  run_.checksums.push_back(checksum);
  run_bytes_ += ExtentBytes(index);
  const bool kv = request_.items[item].kind == Kind::kKv;
  if (run_bytes_ >= (kv ? tuning::kKvRunBytes : tuning::kERunBytes) || BlockOf(index) + 1 >= limit_) FlushRun();
}

void FetchTransfer::FlushRun() {
  if (run_.checksums.empty() || peer() == nullptr) return;
  peer()->Send(run_);
  run_.checksums.clear();
  run_bytes_ = 0;
}

uint64_t FetchTransfer::FinishPiece(uint32_t piece, bool ok) {
  const uint32_t index = piece / 2;
  const Kind kind = request_.items[ItemOf(index)].kind;
  const uint64_t bytes = PieceBytes(index);
  Part& part = PartAt(index);
  if (ok && peer() != nullptr) peer()->FetchBytes(kind, part.extent->from()).Increment(static_cast<double>(bytes));
  if (--part.pieces == 0) {
    part = Part{};
    prepared_bytes_ -= ExtentBytes(index);
    PopDone();
  }
  return bytes;
}

void FetchTransfer::PopDone() {
  while (first_ < next_ && parts_.front().state == Part::State::kDone) {
    parts_.pop_front();
    ++first_;
  }
}

void FetchTransfer::DropPrepared() {
  for (Part& part : parts_) {
    if (part.state == Part::State::kReady) part = Part{};
  }
}

void FetchTransfer::End(const absl::Status& outcome) {
  parts_.clear();
  references_.Release();
  if (peer() == nullptr) return;
  peer()->context().metrics.fetch_seconds.Observe(absl::ToDoubleSeconds(SteadyNow() - started()));
  if (cancelled()) return;
  FlushRun();
  Answer(outcome.ok() ? missing_ : outcome);
}

void FetchTransfer::Answer(const absl::Status& outcome) {
  if (std::exchange(answered_, true)) return;
  peer()->Send(wire::FetchDone{request_id(), static_cast<uint32_t>(outcome.code()), AnswerText(outcome)});
}

}  // namespace droidspeak
