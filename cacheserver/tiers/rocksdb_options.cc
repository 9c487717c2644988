// SPDX-License-Identifier: Apache-2.0
#include "cacheserver/tiers/rocksdb_options.h"

#include <fcntl.h>
#include <unistd.h>

#include "rocksdb/cache.h"
#include "rocksdb/env.h"
#include "rocksdb/table.h"

namespace droidspeak {
namespace {

// The server has its own pool for what is hot: RocksDB needs a cache for indexes and filters only.
constexpr size_t kBlockCacheBytes = 16 << 20;
// Extents lie in memory until a flush: three buffers of this size are the tier's largest part of memory. A flush makes
// one blob file.
constexpr size_t kExtentBufferBytes = 16 << 20;
constexpr size_t kDirectoryBufferBytes = 4 << 20;

// Direct I/O keeps extents out of the page cache, where they would be a second time; tmpfs has none.
bool HasDirectIo(const std::string& folder) {
  const std::string path = folder + "/direct-io-probe";
  const int fd = open(path.c_str(), O_CREAT | O_WRONLY | O_DIRECT | O_CLOEXEC, 0600);
  if (fd >= 0) close(fd);
  unlink(path.c_str());
  return fd >= 0;
}

}  // namespace

RocksdbTuning TuneRocksdb(const std::string& folder, rocksdb::Env* env) {
  RocksdbTuning tuning;
  rocksdb::DBOptions& db = tuning.db;
  if (env != nullptr) db.env = env;
  db.create_if_missing = true;
  db.create_missing_column_families = true;
  db.atomic_flush = true;  // without a WAL, a row must never reach the disk before its extents
  db.use_direct_reads = db.use_direct_io_for_flush_and_compaction = HasDirectIo(folder);
  db.max_background_jobs = 3;
  db.max_open_files = 1024;
  db.info_log_level = rocksdb::WARN_LEVEL;
  db.max_log_file_size = 4 << 20;
  db.keep_log_file_num = 2;
  db.stats_dump_period_sec = 0;
  db.stats_persist_period_sec = 0;
  db.skip_stats_update_on_db_open = true;

  rocksdb::BlockBasedTableOptions table;
  table.block_cache = rocksdb::NewLRUCache(kBlockCacheBytes);
  table.cache_index_and_filter_blocks = true;
  rocksdb::ColumnFamilyOptions& directory = tuning.directory;
  directory.compression = rocksdb::kNoCompression;
  directory.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  directory.write_buffer_size = kDirectoryBufferBytes;

  rocksdb::ColumnFamilyOptions& extents = tuning.extents;
  extents = directory;
  extents.write_buffer_size = kExtentBufferBytes;
  extents.max_write_buffer_number = 3;
  extents.enable_blob_files = true;
  extents.min_blob_size = 0;
  extents.blob_file_size = 256 << 20;
  extents.blob_compression_type = rocksdb::kNoCompression;
  // Ordinary compactions leave blobs where they are; the store asks for garbage collection when it pays.
  extents.enable_blob_garbage_collection = false;
  return tuning;
}

}  // namespace droidspeak
