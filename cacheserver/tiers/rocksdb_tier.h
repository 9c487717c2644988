// SPDX-License-Identifier: Apache-2.0
// The tier on disk: RocksDB with a column family of small directory rows and one of extents in blob files.
//
// Nothing is written to the WAL: an extent's bytes would go to disk twice. Both families are flushed together
// (atomic_flush), so a directory row on disk always has its extents; Sync() flushes, and what it returned OK for
// survives power loss. A removal that was not synced may be undone by a crash: the bytes are still those of their hash.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/types/span.h"
#include "cacheserver/tiers/records.h"

namespace rocksdb {
class ColumnFamilyHandle;
class DB;
class Env;
class WriteBatch;
}  // namespace rocksdb

namespace droidspeak {

struct RocksdbTierOptions {
  std::string folder;
  uint64_t limit_bytes = 0;  // on disk, garbage included
  Digest cluster_secret_id;
  rocksdb::Env* env = nullptr;  // null: the machine's
};

// What a folder held when it was opened.
struct RecoveredStore {
  std::function<void(NamespaceRow row)> on_namespace;             // all of them before any block
  std::function<void(BlockRow row)> on_block;                     // called by several threads at a time
  std::function<void(uint64_t rows)> on_estimate = {};            // about how many blocks will follow
  std::function<void(PinRow row)> on_pin = [](const PinRow&) {};  // before any block as well
};

// Thread-safe; all functions but the getters block on I/O. Writers come one after the other (one thread).
class RocksdbTier {
 public:
  // Opens or creates, and gives the rows to `recovered`. FAILED_PRECONDITION names what differs (format version,
  // cluster secret). Rows that don't decode are dropped and counted in lost_rows().
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<RocksdbTier>> Open(const RocksdbTierOptions& options,
                                                                         const RecoveredStore& recovered);
  ~RocksdbTier();

  struct ExtentWrite {
    ExtentSelector extent;
    const std::byte* data;
    uint64_t bytes;
    uint64_t checksum;
  };
  // Writes extents of one block and its new row as one unit. RESOURCE_EXHAUSTED when the limit or the disk is reached,
  // UNAVAILABLE for I/O errors: then nothing of it is there.
  [[nodiscard]] absl::Status Write(const BlockRow& row, absl::Span<const ExtentWrite> extents);
  [[nodiscard]] absl::Status WriteNamespace(const NamespaceRow& row);
  // Writes the pins of blocks that have a namespace here and removes the others', as one unit.
  using PinChanges = absl::flat_hash_map<BlockKey, std::optional<uint32_t>>;
  [[nodiscard]] absl::Status WritePins(const PinChanges& changes);
  // Removes extents and writes the block's new row, or removes it when nothing is left in it.
  [[nodiscard]] absl::Status Remove(const BlockRow& row, absl::Span<const ExtentSelector> extents);
  // Makes all that was written before survive power loss.
  [[nodiscard]] absl::Status Sync();

  // Reads an extent into `destination` and verifies header, identity and bytes against `checksum`. NOT_FOUND: not
  // there; DATA_LOSS: not what was written; UNAVAILABLE: I/O error, of this
  // extent or of the disk.
  [[nodiscard]] absl::Status Read(const BlockKey& block, ExtentSelector extent, uint64_t checksum,
                                  absl::Span<std::byte> destination);

  // Live extents may occupy this much: less than the limit, since removed ones take space until compacted away.
  uint64_t budget_bytes() const;
  // On disk now, garbage included.
  uint64_t disk_bytes() const;
  // Whether so many bytes more stay within the limit, garbage and a compaction's copies included.
  bool HasRoom(uint64_t bytes) const;
  // Gives removed extents' space back: files in which nothing lives any more, and with `share` > 0 also about that
  // share of the files, the oldest, by rewriting what lives in them; less where the limit leaves no room for the
  // copies. Blocks for the compaction's time, or until `cancelled`; one at a time, beside writes and reads.
  absl::Status Compact(double share, std::atomic<bool>& cancelled);

  uint64_t lost_rows() const { return lost_rows_; }
  // Why it does not work, if it does not: a write failed, or the caller says so of a read. Cleared by TryRecover().
  std::optional<std::string> degraded() const;
  void Degrade(const absl::Status& status);
  // Tries to get out of a background error (disk full, I/O). OK when there is none.
  absl::Status TryRecover();

 private:
  class Listener;
  explicit RocksdbTier(const RocksdbTierOptions& options);
  absl::Status OpenDatabase();
  absl::Status CheckStoreRow();
  absl::Status Scan(const RecoveredStore& recovered);
  absl::Status ScanRange(const std::string& from, const std::string& to,
                         const std::function<void(std::string_view key, std::string_view value)>& visit);
  absl::Status StartCompactions();
  absl::Status Apply(rocksdb::WriteBatch& batch);
  // Notes a failure of the disk, and returns it; a corrupt extent is none.
  absl::Status Failed(absl::Status status);

  const RocksdbTierOptions options_;
  std::shared_ptr<Listener> listener_;
  std::unique_ptr<rocksdb::DB> db_;
  rocksdb::ColumnFamilyHandle* directory_ = nullptr;  // owned by us, destroyed before db_
  rocksdb::ColumnFamilyHandle* extents_ = nullptr;
  uint64_t lost_rows_ = 0;
  std::atomic<uint64_t> compacting_bytes_{0};  // that a compaction may write before it frees what it replaces
  mutable absl::Mutex mutex_;
  std::optional<std::string> degraded_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace droidspeak
