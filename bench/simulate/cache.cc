// SPDX-License-Identifier: Apache-2.0
#include "bench/simulate/cache.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <deque>
#include <list>
#include <set>
#include <unordered_map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "cacheserver/tiers/eviction_policy.h"

namespace droidspeak::bench {
namespace {

// What the policies have in common: which blocks are there, and how much that is.
class BlockCache : public SimulatedCache {
 public:
  BlockCache(const Trace& trace, uint64_t capacity, Below below)
      : trace_(trace), capacity_(capacity), below_(below), present_(trace.blocks.size()) {}

  Found Serve(uint32_t request) final {
    ++clock_;
    const std::vector<uint32_t>& chain = trace_.requests[request];
    Found found;
    size_t run = 0;
    while (run < chain.size() && (present_[chain[run]] || below_ == Below::kDisk)) ++run;
    // From the last on, so that the first of a chain is the one used last.
    std::vector<uint32_t> missing;
    for (size_t i = run; i-- > 0;) {
      if (!present_[chain[i]]) {
        missing.push_back(chain[i]);
        continue;
      }
      found.seconds += trace_.blocks[chain[i]].seconds;
      found.bytes += trace_.blocks[chain[i]].bytes;
      Read(chain[i]);
    }
    for (size_t i = missing.size(); i-- > 0;) Bring(missing[i]);
    for (size_t i = run; i < chain.size(); ++i) {
      if (!present_[chain[i]]) Bring(chain[i]);
    }
    Settle(chain);
    return found;
  }

 protected:
  // A block that is there was read.
  virtual void Read(uint32_t block) = 0;
  // Makes room if need be, and notes the block with Add().
  virtual void Bring(uint32_t block) = 0;
  // All of the request is there.
  virtual void Settle(const std::vector<uint32_t>&) {}

  bool Fits(uint32_t block) const { return used_ + trace_.blocks[block].bytes <= capacity_; }
  bool Has(uint32_t block) const { return present_[block]; }
  void Add(uint32_t block) {
    present_[block] = true;
    used_ += trace_.blocks[block].bytes;
  }
  void Drop(uint32_t block) {
    present_[block] = false;
    used_ -= trace_.blocks[block].bytes;
  }

  const Trace& trace_;
  const uint64_t capacity_;
  const Below below_;
  uint64_t used_ = 0;
  uint32_t clock_ = 0;  // requests so far

 private:
  std::vector<bool> present_;
};

class LruCache final : public BlockCache {
 public:
  using BlockCache::BlockCache;

 private:
  void Read(uint32_t block) override { order_.splice(order_.begin(), order_, places_[block]); }
  void Bring(uint32_t block) override {
    while (!Fits(block)) {
      Drop(order_.back());
      places_.erase(order_.back());
      order_.pop_back();
    }
    Add(block);
    order_.push_front(block);
    places_[block] = order_.begin();
  }
  void Settle(const std::vector<uint32_t>& chain) override {
    for (size_t i = chain.size(); i-- > 0;) {
      if (Has(chain[i])) Read(chain[i]);
    }
  }

  std::list<uint32_t> order_;  // the latest first
  std::unordered_map<uint32_t, std::list<uint32_t>::iterator> places_;
};

// Greedy-Dual-Size-Frequency: the least of inflation + uses x cost / size goes.
class GdsfCache final : public BlockCache {
 public:
  using BlockCache::BlockCache;

 private:
  double Priority(uint32_t block) {
    const TraceBlock& what = trace_.blocks[block];
    return inflation_ + uses_[block] * (below_ == Below::kDisk ? 1 : what.seconds / (what.bytes / 1e9));
  }
  void Place(uint32_t block) {
    const double priority = Priority(block);
    order_.emplace(priority, block);
    places_[block] = priority;
  }
  void Read(uint32_t block) override {
    order_.erase({places_[block], block});
    ++uses_[block];
    Place(block);
  }
  void Bring(uint32_t block) override {
    while (!Fits(block)) {
      const auto victim = *order_.begin();
      inflation_ = victim.first;
      order_.erase(order_.begin());
      places_.erase(victim.second);
      uses_.erase(victim.second);
      Drop(victim.second);
    }
    Add(block);
    uses_[block] = 1;
    Place(block);
  }

  double inflation_ = 0;
  std::set<std::pair<double, uint32_t>> order_;
  std::unordered_map<uint32_t, double> places_;
  std::unordered_map<uint32_t, int> uses_;
};

// Yang et al., SOSP 2023: a small queue of a tenth for what is new, a main one, and the names of what left the small.
class S3FifoCache final : public BlockCache {
 public:
  using BlockCache::BlockCache;

 private:
  void Read(uint32_t block) override { uses_[block] = static_cast<uint8_t>(std::min(uses_[block] + 1, 3)); }
  void Bring(uint32_t block) override {
    while (!Fits(block)) Evict();
    Add(block);
    uses_[block] = 0;
    if (ghosts_.erase(block) != 0) {
      main_.push_back(block);
    } else {
      small_.push_back(block);
      small_bytes_ += trace_.blocks[block].bytes;
    }
  }
  void Evict() {
    if (!small_.empty() && (small_bytes_ >= capacity_ / 10 || main_.empty())) return EvictFromSmall();
    const uint32_t block = main_.front();
    main_.pop_front();
    if (uses_[block] > 0) {
      --uses_[block];
      main_.push_back(block);
    } else {
      Drop(block);
    }
  }
  void EvictFromSmall() {
    const uint32_t block = small_.front();
    small_.pop_front();
    small_bytes_ -= trace_.blocks[block].bytes;
    if (uses_[block] > 1) {
      uses_[block] = 0;
      main_.push_back(block);
      return;
    }
    Drop(block);
    ghosts_.insert(block);
    ghost_order_.push_back(block);
    while (ghost_order_.size() > main_.size() + small_.size()) {
      ghosts_.erase(ghost_order_.front());
      ghost_order_.pop_front();
    }
  }

  std::deque<uint32_t> small_, main_, ghost_order_;
  uint64_t small_bytes_ = 0;
  std::set<uint32_t> ghosts_;
  std::unordered_map<uint32_t, uint8_t> uses_;
};

// The server's. Victims are ordered in one look at all that is there, which serves an eighth of the capacity.
class OurCache final : public BlockCache {
 public:
  OurCache(const Trace& trace, uint64_t capacity, Below below)
      : BlockCache(trace, capacity, below), uses_(trace.blocks.size()) {}

 private:
  // Requests are some seconds apart, in the index's ticks.
  static constexpr uint32_t kTicks = 2000;

  struct Use {
    uint32_t last = 0;
    Interval interval = 0;
  };
  static Digest KeyOf(uint32_t block) {
    Digest key;
    key.bytes.fill(0xff);
    std::memcpy(key.bytes.data(), &block, sizeof(block));
    return key;
  }
  void Read(uint32_t block) override {
    Use& use = uses_[block];
    use.interval = NextInterval(use.interval, kTicks * (clock_ - use.last));
    use.last = clock_;
  }
  void Bring(uint32_t block) override {
    if (below_ == Below::kDisk && uses_[block].last != 0) {  // it is known still, and comes up only if that is worth it
      Read(block);
      if (!Fits(block) && !WorthPromoting(block)) return;
    } else {
      uses_[block] = {clock_, 0};
    }
    while (!Fits(block)) Evict();
    Add(block);
    there_.push_back(block);
  }
  float WorthOf(uint32_t block) const {
    const TraceBlock& what = trace_.blocks[block];
    const float benefit = below_ == Below::kDisk ? 0 : std::log2(what.seconds / static_cast<float>(what.bytes));
    return Worth(benefit, uses_[block].interval, kTicks * (clock_ - uses_[block].last));
  }
  // As the server's (StoreCore::WorthPromoting).
  bool WorthPromoting(uint32_t block) {
    if (next_ == victims_.size()) Look();
    if (next_ == victims_.size()) return false;
    const EvictionCandidate& floor = victims_[next_];
    const uint32_t next = BlockOf(floor);
    if (!IsKnown(uses_[block].interval)) return !IsKnown(uses_[next].interval);
    return WorthOf(block) > WorthOf(next) - (floor.crowded ? kCrowdPenalty : 0) + kPromotionMargin;
  }
  static uint32_t BlockOf(const EvictionCandidate& candidate) {
    uint32_t block = 0;
    std::memcpy(&block, candidate.block.hash.bytes.data(), sizeof(block));
    return block;
  }
  void Evict() {
    while (next_ < victims_.size()) {
      const uint32_t block = BlockOf(victims_[next_]);
      if (uses_[block].last != victims_[next_++].last_use || !Has(block)) continue;  // used since
      return Drop(block);
    }
    Look();
  }
  void Look() {
    std::erase_if(there_, [this](uint32_t block) { return !Has(block); });
    std::vector<EvictionCandidate> candidates;
    for (const uint32_t block : there_) {
      EvictionCandidate candidate{{0, KeyOf(block)}, KeyOf(trace_.blocks[block].parent), trace_.blocks[block].position};
      candidate.last_use = uses_[block].last;
      candidate.interval = uses_[block].interval;
      candidate.bytes = trace_.blocks[block].bytes;
      candidate.worth = WorthOf(block);
      candidate.held = uses_[block].last == clock_;
      candidates.push_back(candidate);
    }
    victims_ = OrderVictims(std::move(candidates));
    next_ = 0;
    uint64_t bytes = 0;
    size_t keep = 0;
    for (; keep < victims_.size() && bytes < capacity_ / 8; ++keep) {
      bytes += trace_.blocks[BlockOf(victims_[keep])].bytes;
    }
    victims_.resize(keep);
  }

  std::vector<Use> uses_;
  std::vector<uint32_t> there_;
  std::vector<EvictionCandidate> victims_;
  size_t next_ = 0;
};

}  // namespace

absl::StatusOr<std::unique_ptr<SimulatedCache>> MakeCache(const std::string& policy, const Trace& trace,
                                                          uint64_t capacity_bytes, Below below) {
  if (policy == "lru") return std::make_unique<LruCache>(trace, capacity_bytes, below);
  if (policy == "s3-fifo") return std::make_unique<S3FifoCache>(trace, capacity_bytes, below);
  if (policy == "gdsf") return std::make_unique<GdsfCache>(trace, capacity_bytes, below);
  if (policy == "ours") return std::make_unique<OurCache>(trace, capacity_bytes, below);
  return absl::NotFoundError(absl::StrCat("no policy '", policy, "'; there are lru, s3-fifo, gdsf and ours"));
}

}  // namespace droidspeak::bench
