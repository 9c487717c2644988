// SPDX-License-Identifier: Apache-2.0
#include "engine/prefill/staging_slots.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "engine/prefill/capture.h"

namespace droidspeak {

StagingSlots::StagingSlots(const ModelConfig& config, const Layout& layout, const std::vector<int64_t>& kv_layers,
                           const std::vector<int64_t>& e_layers)
    : group_of_(config.layers, -1) {
  std::vector<int64_t> both, kv, e;
  std::set_intersection(kv_layers.begin(), kv_layers.end(), e_layers.begin(), e_layers.end(), std::back_inserter(both));
  std::set_difference(kv_layers.begin(), kv_layers.end(), both.begin(), both.end(), std::back_inserter(kv));
  std::set_difference(e_layers.begin(), e_layers.end(), both.begin(), both.end(), std::back_inserter(e));
  const auto add = [&](const std::vector<int64_t>& with_kv, const std::vector<int64_t>& with_e) {
    const std::vector<int64_t>& layers = with_kv.empty() ? with_e : with_kv;
    if (layers.empty()) return;
    for (int64_t layer : layers) group_of_[layer] = static_cast<int>(groups_.size());
    groups_.push_back({.unit = ExtentUnit::OfOneLayer(config, layout.kv, layout.block_tokens, with_kv, with_e),
                       .layers = static_cast<int64_t>(layers.size()),
                       .free = {},
                       .sent = {}});
  };
  add(both, both);
  add(kv, {});
  add({}, e);
}

int64_t StagingSlots::block_bytes() const {
  int64_t bytes = 0;
  for (const Group& group : groups_) bytes += group.layers * group.unit.unit_bytes();
  return bytes;
}

void StagingSlots::Use(const Region& region, int64_t blocks) {
  region_ = &region;
  int64_t begin = 0;
  for (Group& group : groups_) {
    group.begin = begin;
    for (int64_t slot = blocks * group.layers; slot-- > 0;) group.free.push_back(slot);
    begin += blocks * group.layers * group.unit.unit_bytes();
  }
}

std::optional<int64_t> StagingSlots::Take(int64_t layer) {
  std::vector<int64_t>& free = GroupOf(layer).free;
  if (free.empty()) return std::nullopt;
  const int64_t slot = free.back();
  free.pop_back();
  return slot;
}

void StagingSlots::Copy(int64_t slot, int64_t block_row, const LayerKv& kv, int64_t row) {
  const Group& group = GroupOf(kv.layer);
  CopyIntoUnit(group.unit, region_->data() + group.begin + slot * group.unit.unit_bytes(), block_row, kv, row);
}

std::vector<TransferItem> StagingSlots::Items(int64_t layer) const {
  const Group& group = groups_[group_of_[layer]];
  std::vector<TransferItem> items;
  TransferItem item;
  item.layer = static_cast<int>(layer);
  item.region = region_;
  item.slot_stride = static_cast<uint64_t>(group.unit.unit_bytes());
  if (const int64_t offset = group.unit.kv_offset(layer); offset != ExtentUnit::kAbsent) {
    item.kind = Kind::kKv;
    item.first = static_cast<uint64_t>(group.begin + offset);
    item.second = item.first + static_cast<uint64_t>(group.unit.kv_bytes() / 2);
    items.push_back(item);
  }
  if (const int64_t offset = group.unit.e_offset(layer); offset != ExtentUnit::kAbsent) {
    item.kind = Kind::kE;
    item.first = static_cast<uint64_t>(group.begin + offset);
    item.second = item.first;
    items.push_back(item);
  }
  return items;
}

void StagingSlots::Reclaim() {
  for (Group& group : groups_) {
    group.free.insert(group.free.end(), group.sent.begin(), group.sent.end());
    group.sent.clear();
  }
}

}  // namespace droidspeak
