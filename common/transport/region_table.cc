// SPDX-License-Identifier: Apache-2.0
#include "common/transport/region_table.h"

#include "absl/strings/str_cat.h"

namespace droidspeak {

absl::Status RegionTable::Add(uint32_t number, Region region) {
  if (region.bytes == 0) return absl::InvalidArgumentError(absl::StrCat("region ", number, " has no bytes"));
  if (regions_.size() >= kMaxRegions) {
    return absl::ResourceExhaustedError(absl::StrCat("more than ", kMaxRegions, " regions on one connection"));
  }
  if (!regions_.emplace(number, region).second) {
    return absl::AlreadyExistsError(absl::StrCat("region ", number, " is announced already"));
  }
  return absl::OkStatus();
}

absl::StatusOr<RegionTable::Region> RegionTable::Remove(uint32_t number) {
  const auto found = regions_.find(number);
  if (found == regions_.end()) return absl::NotFoundError(absl::StrCat("region ", number, " is not announced"));
  const Region region = found->second;
  regions_.erase(found);
  return region;
}

absl::StatusOr<std::byte*> RegionTable::Find(const RemoteRange& range) const {
  const auto found = regions_.find(range.region);
  if (found == regions_.end()) {
    return absl::InvalidArgumentError(absl::StrCat("region ", range.region, " is not announced"));
  }
  const Region& region = found->second;
  if (range.bytes == 0 || range.offset > region.bytes || range.bytes > region.bytes - range.offset) {
    return absl::InvalidArgumentError(absl::StrCat("bytes [", range.offset, ", +", range.bytes, ") of region ",
                                                   range.region, ", which has ", region.bytes));
  }
  return region.base + range.offset;
}

absl::Status CheckHostMemory(const MemoryRegion& memory) {
  if (!memory.device.has_value()) return absl::OkStatus();
  return absl::UnimplementedError("this transport reaches only the host's memory, not a device's");
}

}  // namespace droidspeak
