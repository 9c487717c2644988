// SPDX-License-Identifier: Apache-2.0
#include "bench/spill_load.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <filesystem>
#include <numeric>
#include <random>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/status.h"
#include "common/base/thread.h"
#include "common/key/checksum.h"

namespace droidspeak::bench {
namespace {

constexpr uint64_t kSourceBytes = 256 << 20;  // more than any cache
constexpr uint64_t kReaderBytes = 16 << 20;
constexpr uint16_t kPieceExtents = 1;  // written at a time, as the evictor does

BlockKey KeyOf(uint64_t block) {
  return {0, Sha256Of(absl::StrCat("spill ", block))};
}

}  // namespace

TierLoad::TierLoad(std::string folder, const SpillShape& shape, std::unique_ptr<HostArena> arena)
    : folder_(std::move(folder)), shape_(shape), arena_(std::move(arena)) {}

TierLoad::~TierLoad() {
  tier_.reset();
  std::error_code ignored;
  std::filesystem::remove_all(folder_, ignored);
}

absl::StatusOr<std::unique_ptr<TierLoad>> TierLoad::Create(std::string folder, const SpillShape& shape) {
  ASSIGN_OR_RETURN(std::unique_ptr<HostArena> arena,
                   HostArena::Create("spill bench", kSourceBytes + shape.readers * kReaderBytes));
  std::mt19937_64 random(1);
  for (uint64_t i = 0; i < arena->bytes(); i += sizeof(uint64_t)) {
    const uint64_t word = random();
    std::memcpy(arena->base() + i, &word, sizeof word);
  }
  std::unique_ptr<TierLoad> load(new TierLoad(std::move(folder), shape, std::move(arena)));
  for (uint64_t extent = 0; extent < shape.extents(); ++extent) {
    const auto layer = static_cast<uint16_t>(extent % kSpillLayers);
    load->checksums_.push_back(ExtentChecksum({KeyOf(extent / kSpillLayers).hash, Kind::kKv, layer},
                                              {load->Source(extent), shape.extent_bytes}));
  }
  return load;
}

const std::byte* TierLoad::Source(uint64_t extent) const {
  return arena_->base() + extent * shape_.extent_bytes % kSourceBytes;
}

BlockRow TierLoad::RowOf(uint64_t block) const {
  BlockRow row;
  row.block = KeyOf(block);
  row.layers = kSpillLayers;
  for (uint16_t layer = 0; layer < kSpillLayers; ++layer) {
    row.Add({Kind::kKv, layer}, checksums_[block * kSpillLayers + layer]);
  }
  return row;
}

absl::Status TierLoad::Reopen() {
  tier_.reset();
  std::error_code ignored;
  std::filesystem::remove_all(folder_, ignored);
  RecoveredStore nothing;
  nothing.on_namespace = [](const NamespaceRow&) {};
  nothing.on_block = [](const BlockRow&) {};
  ASSIGN_OR_RETURN(tier_, RocksdbTier::Open({folder_, 4 * shape_.total_bytes + (4 << 20), {}, nullptr}, nothing));
  return absl::OkStatus();
}

absl::StatusOr<double> TierLoad::Write(bool durable) {
  RETURN_IF_ERROR(Reopen());
  const absl::Time start = absl::Now();
  uint64_t unsynced = 0;
  for (uint64_t block = 0; block < shape_.extents() / kSpillLayers; ++block) {
    for (uint16_t first = 0; first < kSpillLayers; first += kPieceExtents) {
      std::vector<RocksdbTier::ExtentWrite> writes;
      for (uint16_t layer = first; layer < first + kPieceExtents; ++layer) {
        const uint64_t extent = block * kSpillLayers + layer;
        writes.push_back({{Kind::kKv, layer}, Source(extent), shape_.extent_bytes, checksums_[extent]});
      }
      RETURN_IF_ERROR(tier_->Write(RowOf(block), writes));
    }
    unsynced += kSpillLayers * shape_.extent_bytes;
    if (!durable || unsynced < shape_.sync_bytes) continue;
    RETURN_IF_ERROR(tier_->Sync());
    unsynced = 0;
  }
  RETURN_IF_ERROR(tier_->Sync());
  return static_cast<double>(shape_.total_bytes) / absl::ToDoubleSeconds(absl::Now() - start);
}

absl::StatusOr<double> TierLoad::Read() {
  std::vector<uint32_t> order(shape_.extents());
  std::iota(order.begin(), order.end(), 0);
  std::shuffle(order.begin(), order.end(), std::mt19937_64(2));
  std::vector<absl::Status> outcomes(shape_.readers);
  const absl::Time start = absl::Now();
  {
    std::vector<std::unique_ptr<Thread>> readers;
    for (int reader = 0; reader < shape_.readers; ++reader) {
      readers.push_back(std::make_unique<Thread>(
          "reader", [&, reader](const std::stop_token&) { outcomes[reader] = ReadShare(reader, order); }));
    }
  }
  const double seconds = absl::ToDoubleSeconds(absl::Now() - start);
  for (const absl::Status& outcome : outcomes) RETURN_IF_ERROR(outcome);
  return static_cast<double>(shape_.total_bytes) / seconds;
}

absl::Status TierLoad::ReadShare(int reader, const std::vector<uint32_t>& order) {
  std::byte* const memory = arena_->base() + kSourceBytes + reader * kReaderBytes;
  const uint64_t slots = kReaderBytes / shape_.extent_bytes;
  for (size_t i = reader; i < order.size(); i += shape_.readers) {
    const uint32_t extent = order[i];
    const auto layer = static_cast<uint16_t>(extent % kSpillLayers);
    RETURN_IF_ERROR(tier_->Read(KeyOf(extent / kSpillLayers), {Kind::kKv, layer}, checksums_[extent],
                                {memory + i % slots * shape_.extent_bytes, shape_.extent_bytes}));
  }
  return absl::OkStatus();
}

}  // namespace droidspeak::bench
