// SPDX-License-Identifier: Apache-2.0
// What the store hands out: references on blocks, bytes to read, slots to fill. All move-only; destroying one gives
// back what it held. Each object is used by one thread at a time; different objects are independent.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "common/key/kind.h"

namespace droidspeak {

// Where an extent's bytes are; the values are indices of FetchAccepted's arrays.
enum class Tier : uint8_t { kGpu = 0, kHost = 1, kRocksdb = 2 };
inline constexpr size_t kTiers = 3;

// One extent of a block.
struct ExtentSelector {
  Kind kind = Kind::kKv;
  uint16_t layer = 0;
  friend bool operator==(const ExtentSelector&, const ExtentSelector&) = default;
};

// Whoever offers and pins: a session's id.
using OwnerId = uint64_t;
// The owner of pins that droidspeak-ctl makes: they last until it takes them back, across restarts where there is a
// RocksDB tier. No session has this number.
inline constexpr OwnerId kOperator = 0;

struct Block;       // an index entry (cacheserver/index/block.h)
class StoreCore;    // the parts of the store that handles give back to
class StagingPool;  // cacheserver/tiers/host_pool.h
class Offer;        // opaque: cacheserver/store/offers.h
using OfferPtr = std::shared_ptr<Offer>;

// References on a run of blocks.
class References {
 public:
  References() = default;
  References(StoreCore* core, std::vector<Block*> blocks) : core_(core), blocks_(std::move(blocks)) {}
  References(References&& other) noexcept : core_(other.core_), blocks_(std::exchange(other.blocks_, {})) {}
  References& operator=(References&& other) noexcept;
  ~References() { Release(); }

  size_t size() const { return blocks_.size(); }
  // Gives them back now. Pointers into the extents are invalid from here on.
  void Release();

 private:
  friend class StoreCore;
  StoreCore* core_ = nullptr;
  std::vector<Block*> blocks_;
};

// What Acquire() found.
struct Acquired {
  References references;  // size() is the leading run
  // Of all wanted extents in the run, by Tier, at the time of the call.
  std::array<uint64_t, kTiers> tier_bytes{};
  std::array<uint32_t, kTiers> tier_extents{};
};

// An extent in host memory: in the pool (kept by the caller's References) or in a staging buffer that this owns.
class HostExtent {
 public:
  HostExtent(const std::byte* data, uint64_t bytes, uint64_t checksum, Tier from, StagingPool* staging = nullptr)
      : data_(data), bytes_(bytes), checksum_(checksum), from_(from), staging_(staging) {}
  HostExtent(HostExtent&& other) noexcept { *this = std::move(other); }
  HostExtent& operator=(HostExtent&& other) noexcept;
  ~HostExtent() { Release(); }

  const std::byte* data() const { return data_; }
  uint64_t bytes() const { return bytes_; }
  uint64_t checksum() const { return checksum_; }
  // Which tier these bytes were read from.
  Tier from() const { return from_; }
  // Gives the staging buffer back now.
  void Release();

 private:
  const std::byte* data_ = nullptr;
  uint64_t bytes_ = 0;
  uint64_t checksum_ = 0;
  Tier from_ = Tier::kHost;
  StagingPool* staging_ = nullptr;
};

// Pool memory for one extent of an offer, invisible to readers. Destroying it aborts the fill: the extent is wanted
// again. The memory stays the slot's even when the offer ends first, so a transfer into it is always safe.
class FillSlot {
 public:
  FillSlot(StoreCore* core, OfferPtr offer, size_t block, ExtentSelector extent, std::byte* data, uint64_t bytes)
      : core_(core), offer_(std::move(offer)), block_(block), extent_(extent), data_(data), bytes_(bytes) {}
  FillSlot(FillSlot&& other) noexcept { *this = std::move(other); }
  FillSlot& operator=(FillSlot&& other) noexcept;
  ~FillSlot() { Abort(); }

  std::byte* data() const { return data_; }
  uint64_t bytes() const { return bytes_; }

  // Makes the extent readable; the caller has verified `checksum` over the bytes. True if these bytes are what readers
  // get from now on, false if another fill was first (the same to the caller: the extent is there).
  // DEADLINE_EXCEEDED: the offer ended before; NOT_FOUND: the block was removed. The slot is empty afterwards.
  [[nodiscard]] absl::StatusOr<bool> Commit(uint64_t checksum);
  void Abort();

 private:
  friend class StoreCore;
  StoreCore* core_ = nullptr;
  OfferPtr offer_;
  size_t block_ = 0;
  ExtentSelector extent_;
  std::byte* data_ = nullptr;
  uint64_t bytes_ = 0;
};

}  // namespace droidspeak
