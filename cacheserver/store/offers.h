// SPDX-License-Identifier: Apache-2.0
// Offers: who may fill which extents, and until when.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/btree_set.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "cacheserver/store/core.h"

namespace droidspeak {

// One offer. Keeps its blocks' entries (not their extents) until Release(). Thread-safe.
class Offer {
 public:
  Offer(OwnerId owner, const NamespaceEntry* space, absl::Duration lease)
      : owner_(owner), space_(space), lease_(lease) {}

  OwnerId owner() const { return owner_; }
  const NamespaceEntry& space() const { return *space_; }
  absl::Duration lease() const { return lease_; }

  // One block more, whose entry the caller has counted this offer in. `want` is this offer's to fill, `others` was
  // there or is being filled by somebody else.
  void Add(Block* block, const std::array<wire::LayerBits, 2>& want, const std::array<wire::LayerBits, 2>& others);

  // Marks the extent's slot as taken; see ExtentStore::AllocateFill for errors.
  [[nodiscard]] absl::Status TakeSlot(size_t block, ExtentSelector extent);
  void ReturnSlot(size_t block, ExtentSelector extent);
  // Publishes a filled slot; on every outcome the slot's memory belongs to the core.
  [[nodiscard]] absl::StatusOr<bool> Commit(StoreCore& core, size_t block, ExtentSelector extent, std::byte* data,
                                            uint64_t checksum);
  // No more fills: what was not filled is free for others. False if it had ended before.
  bool End(StoreCore& core);
  // After End(): the extents that it found or filled, by block, and those that others were filling. For durable seals.
  struct Kept {
    Block* block;
    std::array<wire::LayerBits, 2> layers;
  };
  std::vector<Kept> KeptExtents() const;
  // After End(): lets go of the entries. Once.
  void Release(StoreCore& core);
  size_t size() const;

 private:
  struct Entry {
    Block* block;
    std::array<wire::LayerBits, 2> want;  // not committed yet
    std::array<wire::LayerBits, 2> out;   // of these, a slot is out
    std::array<wire::LayerBits, 2> kept;  // others' at the offer, or committed
  };
  const OwnerId owner_;
  const NamespaceEntry* const space_;
  const absl::Duration lease_;
  mutable absl::Mutex mutex_;
  std::vector<Entry> entries_ ABSL_GUARDED_BY(mutex_);
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;
};

// All open offers, by owner and by the end of their leases. Thread-safe.
class OfferTable {
 public:
  explicit OfferTable(StoreCore* core) : core_(core) {}

  [[nodiscard]] absl::StatusOr<ExtentStore::OfferResult> Make(OwnerId owner, uint32_t tenant, uint32_t namespace_id,
                                                              absl::Span<const wire::OfferBlock> blocks,
                                                              const std::array<wire::LayerBits, 2>& layers,
                                                              absl::Duration lease);
  // Whether it was open; if so it has ended now and is forgotten. The caller Release()s it.
  bool Close(const OfferPtr& offer);
  void Renew(const OfferPtr& offer);
  void DropOwner(OwnerId owner);
  // Ends the offers whose leases are over.
  void ExpireDue();
  void EndAll();

 private:
  struct State {
    absl::Duration deadline;
    OfferPtr offer;
    size_t blocks;
  };
  struct Open {
    size_t offers = 0, blocks = 0;
  };
  using Deadline = std::pair<absl::Duration, const Offer*>;

  [[nodiscard]] absl::Status Admit(const NamespaceEntry* space, uint32_t tenant, size_t blocks,
                                   const std::array<wire::LayerBits, 2>& layers);
  // Nothing when the hash is known in another namespace, which no honest hash is.
  std::optional<wire::BlockOffer> OfferBlock(Offer& offer, const wire::OfferBlock& block,
                                             const std::array<wire::LayerBits, 2>& layers, uint32_t tick);
  OfferPtr Forget(const Offer* offer) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void EndAndRelease(const std::vector<OfferPtr>& offers);

  StoreCore* const core_;
  absl::Mutex mutex_;
  absl::flat_hash_map<const Offer*, State> open_ ABSL_GUARDED_BY(mutex_);
  absl::btree_set<Deadline> deadlines_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_map<OwnerId, absl::flat_hash_set<const Offer*>> by_owner_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_map<uint32_t, Open> by_tenant_ ABSL_GUARDED_BY(mutex_);
  size_t offered_blocks_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace droidspeak
