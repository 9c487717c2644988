// SPDX-License-Identifier: Apache-2.0
// The settings of RocksDB, in one place with their reasons.
#pragma once

#include <cstdint>
#include <string>

#include "rocksdb/options.h"

namespace droidspeak {

struct RocksdbTuning {
  rocksdb::DBOptions db;
  rocksdb::ColumnFamilyOptions directory;
  rocksdb::ColumnFamilyOptions extents;
};

// For a tier of at most `limit_bytes`. `env` null: the machine's. Looks at `folder` for what its file system can.
RocksdbTuning TuneRocksdb(const std::string& folder, uint64_t limit_bytes, rocksdb::Env* env);

}  // namespace droidspeak
