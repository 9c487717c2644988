// SPDX-License-Identifier: Apache-2.0
// A fill: pulls extents that an offer wants, verifies them, and makes them readable.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "cacheserver/service/transfer.h"
#include "cacheserver/store.h"
#include "common/key/layout.h"
#include "common/transport/messages.h"

namespace droidspeak {

// Takes a slot of the pool per extent, pulls K and V one behind the other into it (or E), verifies the checksum that
// the client gave, and commits. An extent that the offer does not want (any more) is passed over; one whose bytes are
// not what the checksum says is refused and counted, and the others go on. Filled names the first error. While
// everything in the pool is in use (by fills, this one's own included, or readers) it waits a while for room.
class FillTransfer final : public Transfer {
 public:
  // `hashes` are those of the offer's blocks that the request names, one a block of the request.
  FillTransfer(Peer& peer, uint32_t serial, wire::FillRequest request, const Layout& layout, OfferPtr offer,
               std::vector<Digest> hashes, absl::Time now, absl::Time deadline);

  std::optional<uint64_t> offer_id() const override { return request_.offer_id; }
  void Tick(absl::Time) override { RetryOne(); }

 protected:
  uint64_t PostSome(uint64_t turn_bytes, uint64_t window_bytes) override;
  uint64_t FinishPiece(uint32_t piece, bool ok) override;
  bool AllPosted() const override { return next_ == total_; }
  void DropPrepared() override;
  void End(const absl::Status& outcome) override;

 private:
  struct Part {
    enum class State : uint8_t { kAllocating, kWaiting, kReady, kPulling, kDone };
    State state = State::kAllocating;
    uint8_t pieces = 0;
    bool failed = false;
    std::optional<FillSlot> slot;
  };

  uint32_t ItemOf(uint32_t index) const { return index / blocks_; }
  uint32_t BlockOf(uint32_t index) const { return index % blocks_; }
  uint64_t ExtentBytes(uint32_t index) const { return layout_.extent_bytes(request_.items[ItemOf(index)].kind); }
  uint64_t PieceBytes(uint32_t index) const;
  Part& PartAt(uint32_t index) { return parts_[index - first_]; }

  void PrepareAhead(uint64_t ahead_bytes);
  void Allocate(uint32_t index);
  void RetryOne();
  void OnAllocated(uint32_t index, absl::StatusOr<FillSlot> slot);
  absl::Status PullExtent(uint32_t index);
  absl::Status PullPiece(uint32_t piece, std::byte* destination, const wire::Place& place);
  void Commit(uint32_t index);
  void Fail(const absl::Status& why);
  void PopDone();

  const wire::FillRequest request_;
  const Layout layout_;
  const OfferPtr offer_;
  const std::vector<Digest> hashes_;
  const uint32_t blocks_;
  const uint32_t total_;

  std::deque<Part> parts_;  // of extents [first_, prepared_)
  uint32_t first_ = 0;
  uint32_t next_ = 0;  // to pull
  uint32_t prepared_ = 0;
  uint64_t prepared_bytes_ = 0;   // with a slot, or waiting for one
  std::deque<uint32_t> waiting_;  // extents for which the pool had no room, in order
  absl::Time no_room_since_ = absl::InfiniteFuture();
  uint32_t committed_ = 0;
  absl::Status first_error_;
};

}  // namespace droidspeak
