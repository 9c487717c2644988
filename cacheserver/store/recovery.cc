// SPDX-License-Identifier: Apache-2.0
#include "cacheserver/store/recovery.h"

#include <algorithm>
#include <atomic>
#include <utility>
#include <vector>

#include "common/base/log.h"
#include "common/base/status.h"

namespace droidspeak {
namespace {

bool MakesSense(const BlockRow& row, const NamespaceEntry* space) {
  if (space == nullptr || space->row.tenant != row.block.tenant || space->row.layout.layers != row.layers) return false;
  bool within = true;
  for (const wire::LayerBits& bits : row.bits) {
    ForEachLayer(Kind::kKv, bits, [&](ExtentSelector extent) { within &= extent.layer < row.layers; });
  }
  return within;
}

void Restore(StoreCore& core, const BlockRow& row) {
  Index::Locked shard = core.index().Lock(row.block);
  Block* block = shard.Insert(row.block, row.namespace_id, row.parent, row.position, row.layers);
  block->expiry = row.expiry;
  core.NoteExpiry(row.expiry);
  for (Kind kind : kKinds) {
    const auto k = static_cast<size_t>(kind);
    core.RestoreOnDisk(block, kind, row.bits[k], row.checksums[k]);
  }
}

}  // namespace

absl::Status OpenDisk(StoreCore& core, PinTable& pins) {
  const StoreOptions& options = core.options();
  std::atomic<uint64_t> dropped{0};
  RecoveredStore recovered;
  recovered.on_namespace = [&](NamespaceRow row) { dropped += core.namespaces().Restore(row) ? 0 : 1; };
  recovered.on_estimate = [&](uint64_t rows) { core.index().Reserve(std::min(rows, options.max_blocks)); };
  recovered.on_block = [&](BlockRow row) {
    if (MakesSense(row, core.namespaces().Find(row.namespace_id))) {
      Restore(core, row);
    } else {
      ++dropped;
    }
  };
  std::vector<PinRow> pin_rows;
  recovered.on_pin = [&](const PinRow& row) { pin_rows.push_back(row); };
  ASSIGN_OR_RETURN(std::unique_ptr<RocksdbTier> disk,
                   RocksdbTier::Open({options.spill_dir + "/rocksdb", options.spill_limit_bytes,
                                      options.cluster_secret_id, options.env},
                                     recovered));
  dropped += disk->lost_rows();
  if (dropped > 0) spdlog::warn("{} directory rows in {} could not be used", dropped.load(), options.spill_dir);
  core.set_disk(std::move(disk));
  for (const PinRow& row : pin_rows) (void)pins.Restore(row);
  return absl::OkStatus();
}

}  // namespace droidspeak
