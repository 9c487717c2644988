// SPDX-License-Identifier: Apache-2.0
// Where tensors stand while they are stored: registered memory in slots for one layer of one block.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "droidspeak/client.h"
#include "engine/model/config.h"
#include "engine/model/forward.h"
#include "engine/prefill/extent_unit.h"

namespace droidspeak {

// Layers with KV and E, with KV only, and with E only have slots of their own sizes, as many for each layer. Not
// thread-safe.
class StagingSlots {
 public:
  // For what is stored: KV of `kv_layers` and E of `e_layers`. Without memory until Use().
  StagingSlots(const ModelConfig& config, const Layout& layout, const std::vector<int64_t>& kv_layers,
               const std::vector<int64_t>& e_layers);

  // Slots for one block of all layers: the least that lets a sequence grow row by row.
  [[nodiscard]] int64_t block_bytes() const;
  // The region, which outlives this, has memory for `blocks` blocks of all layers.
  void Use(const Region& region, int64_t blocks);

  [[nodiscard]] int64_t layers() const { return static_cast<int64_t>(group_of_.size()); }  // of the model
  // Whether anything of the layer is stored; the others below are for such layers.
  [[nodiscard]] bool Has(int64_t layer) const { return group_of_[layer] >= 0; }
  // A free slot, or nothing.
  [[nodiscard]] std::optional<int64_t> Take(int64_t layer);
  // Rows of `kv`, which begins with row `row` of the sequence, go to the slot of the block that begins with
  // `block_row`.
  void Copy(int64_t slot, int64_t block_row, const LayerKv& kv, int64_t row);
  // What Store::Fill takes for the layer's slots.
  [[nodiscard]] std::vector<TransferItem> Items(int64_t layer) const;
  // The slot was given to a server, which may be reading it until Reclaim().
  void Sent(int64_t layer, int64_t slot) { GroupOf(layer).sent.push_back(slot); }
  // Servers have read all that was sent.
  void Reclaim();

 private:
  // Of layers that are alike.
  struct Group {
    ExtentUnit unit;     // a slot
    int64_t layers = 0;  // so many
    int64_t begin = 0;   // of the first slot in the region, in bytes
    std::vector<int64_t> free, sent;
  };
  Group& GroupOf(int64_t layer) { return groups_[group_of_[layer]]; }

  const Region* region_ = nullptr;
  std::vector<Group> groups_;
  std::vector<int> group_of_;  // by layer; -1: nothing is stored
};

}  // namespace droidspeak
