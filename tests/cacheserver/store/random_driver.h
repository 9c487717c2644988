// SPDX-License-Identifier: Apache-2.0
// Does random operations on a store and its model side by side, and compares every answer: for random_test.cc.
#pragma once

#include <deque>
#include <memory>
#include <ostream>
#include <random>
#include <set>
#include <vector>

#include "tests/cacheserver/store/store_model.h"

namespace droidspeak::testing {

struct StoreConditions {
  const char* name;
  int operations;  // in CI; ten times as many at night
  uint64_t pool_bytes;
  uint64_t spill_bytes;  // 0: no RocksDB tier
  bool tight;            // the pool may be too small for what is filled and read at once
  bool evicts;           // something can be lost for want of room
};

inline void PrintTo(const StoreConditions& conditions, std::ostream* out) {
  *out << conditions.name;
}

// One thread; an injected clock. What an operation tries follows from the seed and its number alone.
class RandomDriver {
 public:
  RandomDriver(const StoreConditions& conditions, uint64_t seed);
  ~RandomDriver();

  // Operation number `index`. Fails the test case when store and model differ.
  void Step(uint64_t index);
  // Ends all that is open, and checks that nothing is left in use.
  void Finish();

  uint64_t hits() const { return hits_; }
  uint64_t fills() const { return fills_; }
  const StoreModel& model() const { return model_; }

 private:
  struct Slot {
    FillSlot slot;
    size_t block;
    ExtentSelector extent;
    uint64_t version;
  };
  struct Wanted {
    std::set<ExtentKey> want;  // not committed yet
    std::set<ExtentKey> kept;  // there, others', or committed: what a durable seal speaks for
    uint64_t generation;       // of the block that was offered
  };
  struct OpenOffer {
    OfferPtr offer;
    OwnerId owner;
    const Space* space;
    std::vector<Digest> hashes;
    std::vector<Wanted> wanted;
    std::vector<Slot> slots;  // out
    bool ended = false;
  };
  struct Held {
    Acquired acquired;
    const Space* space;
    std::vector<Digest> hashes;
    std::vector<uint64_t> generations;
    std::vector<std::map<ExtentKey, uint64_t>> versions;
  };

  size_t Pick(size_t limit) { return random_() % limit; }
  const Space& PickSpace() { return spaces_[Pick(spaces_.size())]; }
  std::vector<Digest> PickRun(const Space& space, size_t& first);
  // Three of four.
  wire::LayerBits PickLayers(const Space& space) {
    return {(random_() | random_()) & ((uint64_t{1} << space.layout.layers) - 1)};
  }
  std::vector<ExtentSelector> PickExtents(const Space& space);

  void OpenSpaces();
  // Lets the model see what is there of these blocks.
  void Sync(const Space& space, const std::vector<Digest>& hashes);
  void CheckBytes(const Held& held, size_t block, ExtentSelector extent);

  void StartOffer(bool finish);
  void ExpectAnswer(OpenOffer& open, const wire::LayerBits& kv, const wire::LayerBits& e,
                    const std::vector<wire::BlockOffer>& answers);
  void FillSome(OpenOffer& open, size_t skip_one_in);
  void Commit(OpenOffer& open, Slot slot);
  void SealOffer(OpenOffer& open, bool durable);
  // What the model forgets of an offer that ends; the store has ended it.
  void EndOffer(OpenOffer& open);
  absl::StatusCode DurableOutcome(const OpenOffer& open);
  void ContinueOffer();
  void Fetch();
  void CheckHeld();
  void ReleaseHeld(size_t index);
  void Cover();
  void Pin();
  void Unpin();
  void Remove();
  void Stranger();
  void DropOwner();
  void Advance();
  void Restart();
  void CheckStats();
  void SetTime();

  const StoreConditions conditions_;
  const uint64_t seed_;
  std::mt19937_64 random_;
  const TempFolder folder_;
  FakeClock clock_;
  absl::Time wall_at_open_;
  absl::Duration steady_at_open_;
  std::unique_ptr<TestStore> store_;
  std::vector<Space> spaces_;
  StoreModel model_;
  std::deque<OpenOffer> offers_;
  std::deque<Held> held_;
  uint64_t version_ = 0;
  uint64_t hits_ = 0;
  uint64_t fills_ = 0;
};

}  // namespace droidspeak::testing
