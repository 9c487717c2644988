// SPDX-License-Identifier: Apache-2.0
#include "client/src/region.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/base/status.h"
#include "common/transport/messages.h"

namespace droidspeak {
namespace {

// `base` + `slot` * `stride` + `bytes` lies within `limit`, without overflow.
bool Fits(uint64_t base, uint64_t slot, uint64_t stride, uint64_t bytes, uint64_t limit) {
  if (base > limit || bytes > limit) return false;
  const uint64_t room = limit - base;
  if (bytes > room) return false;
  return stride == 0 || slot <= (room - bytes) / stride;
}

absl::StatusOr<PlacedItem> PlaceItem(const Layout& layout, const TransferItem& item, uint32_t largest_slot) {
  const auto wrong = [&](absl::string_view what) {
    return absl::InvalidArgumentError(
        absl::StrCat("item (", item.kind == Kind::kKv ? "KV" : "E", ", layer ", item.layer, "): ", what));
  };
  if (item.layer < 0 || item.layer >= static_cast<int>(layout.layers)) {
    return wrong(absl::StrCat("the layout has layers 0 to ", layout.layers - 1));
  }
  if (item.region == nullptr) return wrong("no region");
  PlacedItem placed;
  placed.item = item;
  placed.memory = static_cast<const RegionImpl*>(item.region)->memory();
  placed.has_second = item.kind == Kind::kKv;
  placed.part_bytes = placed.has_second ? layout.k_bytes() : layout.e_bytes();
  const uint64_t limit = placed.memory->bytes();
  if (!Fits(item.first, largest_slot, item.slot_stride, placed.part_bytes, limit) ||
      (placed.has_second && !Fits(item.second, largest_slot, item.slot_stride, placed.part_bytes, limit))) {
    return wrong(absl::StrCat("slot ", largest_slot, " ends beyond its region of ", limit, " bytes"));
  }
  return placed;
}

}  // namespace

void RegionMemory::Quarantine(uint64_t first, uint64_t last) {
  absl::MutexLock lock(&mutex_);
  if (!quarantined_.empty() && quarantined_.back().last == first) {
    quarantined_.back().last = last;
  } else {
    quarantined_.push_back({first, last});
  }
}

bool RegionMemory::IsQuarantined(uint64_t first, uint64_t last) const {
  absl::MutexLock lock(&mutex_);
  return std::any_of(quarantined_.begin(), quarantined_.end(),
                     [&](const Range& range) { return first < range.last && range.first < last; });
}

absl::StatusOr<std::vector<PlacedItem>> PlaceItems(const Layout& layout, const std::vector<TransferItem>& items,
                                                   const std::vector<uint32_t>& slots) {
  if (items.empty() || items.size() > wire::kMaxItemsPerMessage) {
    return absl::InvalidArgumentError(absl::StrCat(items.size(), " items; expected 1 to ", wire::kMaxItemsPerMessage));
  }
  if (slots.empty() || slots.size() > kMaxBlocksPerRequest) {
    return absl::InvalidArgumentError(absl::StrCat(slots.size(), " blocks; expected 1 to ", kMaxBlocksPerRequest));
  }
  const uint32_t largest_slot = *std::max_element(slots.begin(), slots.end());
  std::vector<PlacedItem> placed;
  placed.reserve(items.size());
  for (const TransferItem& item : items) {
    ASSIGN_OR_RETURN(PlacedItem one, PlaceItem(layout, item, largest_slot));
    placed.push_back(std::move(one));
  }
  return placed;
}

}  // namespace droidspeak
