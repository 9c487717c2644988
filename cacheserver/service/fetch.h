// SPDX-License-Identifier: Apache-2.0
// A fetch: pushes what a request asked for, item by item in the order asked, block by block.
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

// INVALID_ARGUMENT unless every layer, slot and place of the request makes sense for the layout. Whether a range lies
// in a region is the transport's to check, when it is used.
[[nodiscard]] absl::Status ValidateItems(const std::vector<wire::TransferItem>& items,
                                         const std::vector<uint32_t>& slots, const Layout& layout);

// True if K and V of the item lie in separate places; else an extent is one transfer.
bool LiesApart(const wire::TransferItem& item, const Layout& layout);

// Holds references on the blocks it sends until the last byte has left. Extents on disk are read a little ahead, in
// order; LayerDone follows each run of blocks onto the wire, and FetchDone the last: the transport delivers them after
// the bytes before them.
//
// An extent that turns out to be missing or corrupt shortens the run: blocks from there on are not sent for this and
// later items, and FetchDone says so.
class FetchTransfer final : public Transfer {
 public:
  FetchTransfer(Peer& peer, uint32_t serial, wire::FetchRequest request, const Layout& layout, References references,
                absl::Time now, absl::Time deadline);

 protected:
  uint64_t PostSome(uint64_t turn_bytes, uint64_t window_bytes) override;
  uint64_t FinishPiece(uint32_t piece, bool ok) override;
  bool AllPosted() const override { return next_ == total_; }
  void DropPrepared() override;
  void End(const absl::Status& outcome) override;

 private:
  // One extent, between being looked up and having arrived.
  struct Part {
    enum class State : uint8_t { kLoading, kReady, kPosted, kDone };
    State state = State::kDone;
    uint8_t pieces = 0;  // posted and not yet done
    std::optional<HostExtent> extent;
  };

  uint32_t ItemOf(uint32_t index) const { return index / blocks_; }
  uint32_t BlockOf(uint32_t index) const { return index % blocks_; }
  uint64_t ExtentBytes(uint32_t index) const { return layout_.extent_bytes(request_.items[ItemOf(index)].kind); }
  uint64_t PieceBytes(uint32_t index) const {
    return LiesApart(request_.items[ItemOf(index)], layout_) ? layout_.k_bytes() : ExtentBytes(index);
  }
  Part& PartAt(uint32_t index) { return parts_[index - first_]; }

  void PrepareAhead(uint64_t ahead_bytes);
  Part Prepare(uint32_t index);
  void OnLoaded(uint32_t index, absl::StatusOr<HostExtent> loaded);
  absl::Status PostExtent(uint32_t index);
  absl::Status PostPiece(uint32_t piece, const std::byte* data, const wire::Place& place);
  void Announce(uint32_t index, uint64_t checksum);
  void FlushRun();
  void Answer(const absl::Status& outcome);
  void PopDone();

  const wire::FetchRequest request_;
  const Layout layout_;
  const uint32_t blocks_;  // that were accepted
  const uint32_t total_;   // extents: items x blocks, item by item
  uint32_t limit_;         // blocks from here on are not sent any more
  absl::Status missing_;   // why limit_ is less than blocks_

  References references_;   // destroyed after parts_
  std::deque<Part> parts_;  // of extents [first_, prepared_)
  uint32_t first_ = 0;
  uint32_t next_ = 0;  // to post
  uint32_t prepared_ = 0;
  uint64_t prepared_bytes_ = 0;  // looked up and not yet arrived

  // The run of blocks of one item that was posted and not yet announced.
  wire::LayerDone run_;
  uint64_t run_bytes_ = 0;
  bool answered_ = false;
};

}  // namespace droidspeak
