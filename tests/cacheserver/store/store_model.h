// SPDX-License-Identifier: Apache-2.0
// What a store must hold after a history of operations: a model of it in memory, for random_test.cc.
//
// The model is exact: each extent's bytes, who fills it, who pins it, when it expires. Only eviction is the store's own
// choice; a store under pressure may lose what is neither pinned nor referenced, and Observe() makes the model forget
// it. Without pressure a missing extent is a failure.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "tests/cacheserver/store/store_fixture.h"

namespace droidspeak::testing {

// A namespace of a tenant.
struct Space {
  uint32_t tenant = 0;
  Digest name;
  Layout layout;
  uint32_t id = 0;  // of the store that is open
};

// An extent of a block as a key of maps.
using ExtentKey = std::pair<Kind, uint16_t>;
inline ExtentKey KeyOf(ExtentSelector extent) {
  return {extent.kind, extent.layer};
}

struct ModelBlock {
  const Space* space = nullptr;
  uint64_t generation = 0;              // another one when the block was removed and came again
  int64_t expiry = 0;                   // Unix seconds
  std::map<ExtentKey, uint64_t> ready;  // the version of the one successful fill
  std::set<ExtentKey> filling;
  std::map<OwnerId, uint64_t> pins;  // bytes that it held when it was pinned
  int offers = 0;
  int references = 0;

  uint64_t HeldBytes() const;  // of what is ready or being filled
};

// One thread's.
class StoreModel {
 public:
  // `evicts`: the store may be short of room.
  StoreModel(bool evicts, absl::Duration ttl) : evicts_(evicts), ttl_seconds_(absl::ToInt64Seconds(ttl)) {}

  // The time by which blocks expire. Blocks past theirs go.
  void SetTime(int64_t unix_seconds);
  // The block if it is there and of this namespace, else null.
  ModelBlock* Find(const Space& space, const Digest& hash);
  // Whether the tenant has the hash in any namespace.
  bool Holds(uint32_t tenant, const Digest& hash) const { return blocks_.contains({tenant, hash}); }
  // The block, made if need be.
  ModelBlock& FindOrMake(const Space& space, const Digest& hash);
  // Forgets the block if nothing keeps it.
  void Settle(const Space& space, const Digest& hash);
  void Remove(const Space& space, const Digest& hash) { blocks_.erase({space.tenant, hash}); }
  void Unpin(const Space& space, const Digest& hash, OwnerId owner);
  void UnpinAll(OwnerId owner);
  // Sessions are gone; with `keeps`, what was there still is.
  void Restart(bool keeps);

  // Compares what the store says with what must be, and forgets what was evicted.
  void Observe(const Space& space, const Digest& hash, const wire::BlockCoverage& coverage);

  bool evicts() const { return evicts_; }
  uint64_t pinned_bytes() const;
  size_t blocks() const { return blocks_.size(); }
  size_t extents() const;
  // Extents that were evicted so far, as far as it was noticed.
  uint64_t evicted() const { return evicted_; }

 private:
  using Key = std::pair<uint32_t, Digest>;
  static bool Kept(const ModelBlock& block) {
    return !block.ready.empty() || block.offers > 0 || !block.pins.empty() || block.references > 0;
  }
  void PurgeExpired();

  const bool evicts_;
  const int64_t ttl_seconds_;
  int64_t now_ = 0;
  uint64_t generations_ = 0;
  uint64_t evicted_ = 0;
  std::map<Key, ModelBlock> blocks_;
};

}  // namespace droidspeak::testing
