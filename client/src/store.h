// SPDX-License-Identifier: Apache-2.0
// A store, spread over the servers that are to hold its blocks.
#pragma once

#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "client/src/link.h"
#include "client/src/reactor.h"
#include "client/src/region.h"
#include "droidspeak/client.h"

namespace droidspeak {

// One server's share of a store: the blocks, by their indices in the store, in chain order.
struct StorePart {
  std::shared_ptr<Link> link;
  uint32_t namespace_id = 0;
  std::vector<int> blocks;
};

// What a store knows, shared by the caller's Store and by the links, which may still read its sources. Thread-safe.
class StoreState {
 public:
  StoreState(Reactor& reactor, Layout layout, StoreOptions options, std::vector<StorePart> parts);

  // Sends the offers. `self` is the shared pointer that owns this object.
  void Offer(const std::shared_ptr<StoreState>& self);
  // Waits for the answers; servers that have not answered by then want nothing.
  std::vector<BlockWants> TakeWants(absl::Time deadline);

  absl::Status Fill(const std::shared_ptr<StoreState>& self, const std::vector<TransferItem>& items,
                    const std::vector<int>& blocks, const std::vector<uint32_t>& slots);
  absl::Status WaitFilled(absl::Time deadline);
  absl::Status Seal(const std::shared_ptr<StoreState>& self, bool durable, absl::Time deadline);
  // Seals what was filled without waiting, if nobody has sealed it.
  void Abandon();

 private:
  class OfferAnswered;
  class FillAnswered;
  class SealAnswered;
  struct PartState {
    uint64_t offer_id = 0;
    bool answered = false;
    bool open = false;  // the server holds the offer
  };

  void FillPart(const std::shared_ptr<StoreState>& self, int part, const std::vector<PlacedItem>& items,
                const std::vector<int>& blocks, const std::vector<uint32_t>& slots);
  bool Wanted(int block, const TransferItem& item) const;
  uint64_t Checksum(const PlacedItem& placed, int block, uint32_t slot) const;
  void SendSeals(const std::shared_ptr<StoreState>& self, bool durable);
  void OnOffer(int part, const wire::OfferAnswer* answer);

  Reactor& reactor_;  // of callers: links may outlive it
  const Layout layout_;
  const StoreOptions options_;
  const std::vector<StorePart> parts_;
  std::vector<int> part_of_block_;  // -1: no live server
  std::vector<int> index_in_part_;

  mutable absl::Mutex mutex_;
  std::vector<PartState> states_ ABSL_GUARDED_BY(mutex_);
  std::vector<BlockWants> wants_ ABSL_GUARDED_BY(mutex_);
  int fills_ ABSL_GUARDED_BY(mutex_) = 0;  // under way
  int seals_ ABSL_GUARDED_BY(mutex_) = 0;
  bool sealed_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status first_error_ ABSL_GUARDED_BY(mutex_);
};

// The caller's handle.
class StoreImpl : public Store {
 public:
  StoreImpl(std::shared_ptr<StoreState> state, std::vector<BlockWants> wants)
      : state_(std::move(state)), wants_(std::move(wants)) {}
  ~StoreImpl() override { state_->Abandon(); }

  const std::vector<BlockWants>& wants() const override { return wants_; }
  absl::Status Fill(const std::vector<TransferItem>& items, const std::vector<int>& blocks,
                    const std::vector<uint32_t>& slots) override {
    return state_->Fill(state_, items, blocks, slots);
  }
  absl::Status WaitFilled(absl::Time deadline) override { return state_->WaitFilled(deadline); }
  absl::Status Seal(bool durable, absl::Time deadline) override { return state_->Seal(state_, durable, deadline); }

 private:
  const std::shared_ptr<StoreState> state_;
  const std::vector<BlockWants> wants_;
};

}  // namespace droidspeak
