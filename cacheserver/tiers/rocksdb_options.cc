// SPDX-License-Identifier: Apache-2.0
#include "cacheserver/tiers/rocksdb_options.h"

#include <fcntl.h>
#include <isa-l/crc.h>
#include <unistd.h>

#include <algorithm>

#include "rocksdb/cache.h"
#include "rocksdb/env.h"
#include "rocksdb/filter_policy.h"
#include "rocksdb/table.h"

namespace droidspeak {
namespace {

// The server has its own pool for what is hot: RocksDB needs a cache for indexes and filters only.
constexpr size_t kBlockCacheBytes = 16 << 20;
// Extents lie in memory until a flush: three buffers of this size are the tier's largest part of memory. A flush makes
// one blob file.
constexpr size_t kExtentBufferBytes = 24 << 20;
// Space comes back a file at a time: a small tier has smaller ones.
constexpr uint64_t kFilesALimit = 32;
constexpr size_t kLeastBufferBytes = 1 << 20;
constexpr int kManyFiles = 1 << 20;
// Goes to the disk in one request: flushes have one at a time.
constexpr size_t kWriteBytes = 4 << 20;
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

RocksdbTuning TuneRocksdb(const std::string& folder, uint64_t limit_bytes, rocksdb::Env* env) {
  RocksdbTuning tuning;
  rocksdb::DBOptions& db = tuning.db;
  if (env != nullptr) db.env = env;
  db.create_if_missing = true;
  db.create_missing_column_families = true;
  db.atomic_flush = true;  // without a WAL, a row must never reach the disk before its extents
  db.use_direct_reads = db.use_direct_io_for_flush_and_compaction = HasDirectIo(folder);
  db.writable_file_max_buffer_size = kWriteBytes;
  db.max_background_flushes = 2;
  db.max_background_compactions = 2;  // a long garbage collection must not keep the directory from being compacted
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
  table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(10));  // an extent is in one of several files of keys
  rocksdb::ColumnFamilyOptions& directory = tuning.directory;
  directory.compression = rocksdb::kNoCompression;
  directory.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  directory.disable_auto_compactions = true;  // until the directory has been read
  directory.write_buffer_size = kDirectoryBufferBytes;
  directory.max_write_buffer_number = 3;
  // Each flush makes a file of both families, tiny ones: never slow writers down for their number.
  directory.level0_slowdown_writes_trigger = directory.level0_stop_writes_trigger = kManyFiles;
  directory.soft_pending_compaction_bytes_limit = directory.hard_pending_compaction_bytes_limit = 0;

  rocksdb::ColumnFamilyOptions& extents = tuning.extents;
  extents = directory;
  extents.write_buffer_size = std::clamp<size_t>(limit_bytes / kFilesALimit, kLeastBufferBytes, kExtentBufferBytes);
  extents.enable_blob_files = true;
  extents.min_blob_size = 0;
  extents.blob_file_size = extents.write_buffer_size;  // files of one size: a share of them is one of the bytes
  extents.blob_compression_type = rocksdb::kNoCompression;
  // Ordinary compactions leave blobs where they are; the store asks for garbage collection when it pays.
  extents.enable_blob_garbage_collection = false;
  return tuning;
}

}  // namespace droidspeak

// Debian builds RocksDB for processors without SSE4.2: its CRC32C, over every blob it writes, goes by tables at 0.6
// GB/s and would be what limits a flush. The dynamic linker takes this one for the library's calls too. ISA-L picks the
// fastest that the processor has.
namespace rocksdb::crc32c {

uint32_t Extend(uint32_t crc, const char* data, size_t bytes) {
  constexpr size_t kMost = 1 << 30;  // ISA-L counts in int
  for (; bytes > kMost; bytes -= kMost, data += kMost) crc = Extend(crc, data, kMost);
  auto* const start = reinterpret_cast<unsigned char*>(const_cast<char*>(data));  // which it only reads
  return ~crc32_iscsi(start, static_cast<int>(bytes), ~crc);
}

}  // namespace rocksdb::crc32c
