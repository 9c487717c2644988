// SPDX-License-Identifier: Apache-2.0
// A file system for RocksDB that fails when told to, and knows what would survive power loss.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <random>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "rocksdb/env.h"
#include "rocksdb/file_system.h"

namespace droidspeak::testing {

// What survives power loss, as strictly as POSIX lets it be: of a file, the bytes it had when it was last synced; of a
// folder, the names (created, renamed, replaced, deleted) that it had when the folder was last synced. Every file that
// was made through this has a second name in `shadow`, a folder on the same file system, so that what was deleted or
// replaced without a sync can come back. Thread-safe.
class FaultyFileSystem : public rocksdb::FileSystemWrapper {
 public:
  explicit FaultyFileSystem(std::string shadow = "");
  const char* Name() const override { return "FaultyFileSystem"; }

  std::atomic<bool> disk_full{false};
  std::atomic<bool> reads_fail{false};
  std::atomic<int> slow_ms{0};  // what each read and write takes longer

  // Calls `then` before the operation that is `count` operations (writes, syncs, changes of a folder) from now.
  void After(int64_t count, std::function<void()> then);
  // All that the folder has now is durable: it is what a disk had when it was mounted.
  void Adopt(const std::string& folder);
  // Copies the folder as power loss would leave it. With `random`, also some of what was not synced: each file keeps
  // a part of its tail, and each name may or may not have changed.
  void CopySurvivors(const std::string& from, const std::string& to, std::mt19937_64* random = nullptr) const;

  // For the files of it.
  rocksdb::IOStatus BeforeWrite();
  rocksdb::IOStatus BeforeRead() const;
  void BeforeChange();
  void Synced(uint64_t id, const std::string& path);
  void FolderSynced(const std::string& folder);

  rocksdb::IOStatus NewWritableFile(const std::string& path, const rocksdb::FileOptions& options,
                                    std::unique_ptr<rocksdb::FSWritableFile>* file,
                                    rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus NewRandomAccessFile(const std::string& path, const rocksdb::FileOptions& options,
                                        std::unique_ptr<rocksdb::FSRandomAccessFile>* file,
                                        rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus NewDirectory(const std::string& path, const rocksdb::IOOptions& options,
                                 std::unique_ptr<rocksdb::FSDirectory>* folder,
                                 rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus RenameFile(const std::string& from, const std::string& to, const rocksdb::IOOptions& options,
                               rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus DeleteFile(const std::string& path, const rocksdb::IOOptions& options,
                               rocksdb::IODebugContext* debug) override;

 private:
  using Names = absl::flat_hash_map<std::string, uint64_t>;  // path → id
  uint64_t AddFile(const std::string& path) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::string ShadowOf(uint64_t id) const { return shadow_ + "/" + std::to_string(id); }
  void Pause() const;

  const std::string shadow_;
  std::atomic<int64_t> countdown_{0};
  std::function<void()> then_;
  mutable absl::Mutex mutex_;
  uint64_t next_id_ ABSL_GUARDED_BY(mutex_) = 1;
  Names names_ ABSL_GUARDED_BY(mutex_);          // now
  Names durable_names_ ABSL_GUARDED_BY(mutex_);  // after power loss
  absl::flat_hash_map<uint64_t, uint64_t> synced_bytes_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace droidspeak::testing
