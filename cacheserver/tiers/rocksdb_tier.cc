// SPDX-License-Identifier: Apache-2.0
#include "cacheserver/tiers/rocksdb_tier.h"

#include <cstring>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "cacheserver/tiers/rocksdb_options.h"
#include "common/base/log.h"
#include "common/base/status.h"
#include "common/key/checksum.h"
#include "rocksdb/db.h"
#include "rocksdb/env.h"
#include "rocksdb/listener.h"
#include "rocksdb/write_batch.h"

namespace droidspeak {
namespace {

rocksdb::Slice ToSlice(std::string_view text) {
  return {text.data(), text.size()};
}
std::string_view ToView(const rocksdb::Slice& slice) {
  return {slice.data(), slice.size()};
}

absl::Status FromRocksdb(const rocksdb::Status& status, std::string_view what) {
  if (status.ok()) return absl::OkStatus();
  const std::string text = absl::StrCat("RocksDB, ", ToAbsl(what), ": ", status.ToString());
  if (status.IsNotFound()) return absl::NotFoundError(text);
  if (status.IsCorruption()) return absl::DataLossError(text);
  if (status.IsNoSpace()) return absl::ResourceExhaustedError(text);
  return absl::UnavailableError(text);
}

// Unsynced writes are flushed by Sync(): none goes to the WAL (see the header).
rocksdb::WriteOptions WithoutWal() {
  rocksdb::WriteOptions options;
  options.disableWAL = true;
  return options;
}

}  // namespace

// Remembers that RocksDB went into a background error: a flush or compaction that failed after writes were accepted.
class RocksdbTier::Listener : public rocksdb::EventListener {
 public:
  explicit Listener(RocksdbTier* tier) : tier_(tier) {}
  void OnBackgroundError(rocksdb::BackgroundErrorReason, rocksdb::Status* error) override {
    if (error != nullptr) (void)tier_->Failed(FromRocksdb(*error, "in the background"));
  }

 private:
  RocksdbTier* const tier_;
};

RocksdbTier::RocksdbTier(const RocksdbTierOptions& options) : options_(options) {}

RocksdbTier::~RocksdbTier() {
  if (db_ == nullptr) return;
  for (rocksdb::ColumnFamilyHandle* family : {directory_, extents_}) {
    if (family != nullptr) (void)db_->DestroyColumnFamilyHandle(family);
  }
  if (const rocksdb::Status closed = db_->Close(); !closed.ok()) {
    spdlog::error("closing the store in {}: {}", options_.folder, closed.ToString());
  }
  db_.reset();  // before what its listener uses
}

absl::StatusOr<std::unique_ptr<RocksdbTier>> RocksdbTier::Open(const RocksdbTierOptions& options,
                                                               const RecoveredStore& recovered) {
  std::error_code error;
  std::filesystem::create_directories(options.folder, error);
  if (error) {
    return absl::UnavailableError(absl::StrCat("creating the spill folder ", options.folder, ": ", error.message()));
  }
  auto tier = std::unique_ptr<RocksdbTier>(new RocksdbTier(options));
  RETURN_IF_ERROR(tier->OpenDatabase());
  RETURN_IF_ERROR(tier->CheckStoreRow());
  RETURN_IF_ERROR(tier->Scan(recovered));
  return tier;
}

absl::Status RocksdbTier::OpenDatabase() {
  listener_ = std::make_shared<Listener>(this);
  const RocksdbTuning tuning = TuneRocksdb(options_.folder, options_.env);
  rocksdb::DBOptions db_options = tuning.db;
  db_options.listeners.push_back(listener_);
  const std::vector<rocksdb::ColumnFamilyDescriptor> families = {
      {rocksdb::kDefaultColumnFamilyName, tuning.directory},
      {"directory", tuning.directory},
      {"extents", tuning.extents},
  };
  std::vector<rocksdb::ColumnFamilyHandle*> handles;
  rocksdb::DB* db = nullptr;
  const rocksdb::Status opened = rocksdb::DB::Open(db_options, options_.folder, families, &handles, &db);
  if (!opened.ok()) {
    return absl::UnavailableError(absl::StrCat("opening the store in ", options_.folder, ": ", opened.ToString()));
  }
  db_.reset(db);
  (void)db_->DestroyColumnFamilyHandle(handles[0]);
  directory_ = handles[1];
  extents_ = handles[2];
  return absl::OkStatus();
}

absl::Status RocksdbTier::CheckStoreRow() {
  std::string bytes;
  const rocksdb::Status read = db_->Get({}, directory_, ToSlice(StoreRowKey()), &bytes);
  if (read.IsNotFound()) {
    const StoreRow row{kStoreFormatVersion, options_.cluster_secret_id};
    RETURN_IF_ERROR(FromRocksdb(db_->Put(WithoutWal(), directory_, ToSlice(StoreRowKey()), ToSlice(row.Encode())),
                                "writing the store's row"));
    return Sync();
  }
  RETURN_IF_ERROR(FromRocksdb(read, "reading the store's row"));
  ASSIGN_OR_RETURN(const StoreRow row, StoreRow::Decode(bytes));
  if (row.format_version != kStoreFormatVersion) {
    return absl::FailedPreconditionError(absl::StrCat("the store in ", options_.folder, " has format version ",
                                                      row.format_version, ", expected ", kStoreFormatVersion));
  }
  if (row.cluster_secret_id != options_.cluster_secret_id) {
    return absl::FailedPreconditionError(
        absl::StrCat("the store in ", options_.folder, " belongs to the cluster secret with id ",
                     row.cluster_secret_id.Hex(), ", not ", options_.cluster_secret_id.Hex()));
  }
  return absl::OkStatus();
}

absl::Status RocksdbTier::Scan(const RecoveredStore& recovered) {
  rocksdb::ReadOptions options;
  options.fill_cache = false;
  options.readahead_size = 2 << 20;
  options.async_io = false;
  const std::unique_ptr<rocksdb::Iterator> rows(db_->NewIterator(options, directory_));
  // Keys sort 'N' < 'S' < 'b': namespaces come before blocks.
  for (rows->SeekToFirst(); rows->Valid(); rows->Next()) {
    const std::string_view key = ToView(rows->key());
    const std::string_view value = ToView(rows->value());
    if (key.front() == static_cast<char>(RowType::kNamespace)) {
      absl::StatusOr<NamespaceRow> row = NamespaceRow::Decode(key, value);
      lost_rows_ += row.ok() ? 0 : 1;
      if (row.ok()) recovered.on_namespace(*std::move(row));
    } else if (key.front() == static_cast<char>(RowType::kBlock)) {
      absl::StatusOr<BlockRow> row = BlockRow::Decode(key, value);
      lost_rows_ += row.ok() ? 0 : 1;
      if (row.ok()) recovered.on_block(*std::move(row));
    }
  }
  return Annotate(FromRocksdb(rows->status(), "scanning the directory"), options_.folder);
}

absl::Status RocksdbTier::Failed(absl::Status status) {
  if (absl::IsUnavailable(status) || absl::IsResourceExhausted(status)) {
    absl::MutexLock lock(&mutex_);
    if (!degraded_) spdlog::error("the RocksDB tier is degraded: {}", status.ToString());
    degraded_ = std::string(status.message());
  }
  return status;
}

absl::Status RocksdbTier::Apply(rocksdb::WriteBatch& batch) {
  return Failed(FromRocksdb(db_->Write(WithoutWal(), &batch), "writing"));
}

absl::Status RocksdbTier::Write(const BlockRow& row, absl::Span<const ExtentWrite> extents) {
  uint64_t bytes = 0;
  for (const ExtentWrite& extent : extents) bytes += extent.bytes;
  if (disk_bytes() + bytes > options_.limit_bytes) {
    // Not a fault: the tier is full of what is wanted more, or of garbage that awaits compaction.
    return absl::ResourceExhaustedError("the spill limit is reached");
  }
  rocksdb::WriteBatch batch;
  for (const ExtentWrite& extent : extents) {
    const auto header = ExtentHeader{row.block, extent.extent, extent.bytes, extent.checksum}.Encode();
    const std::string key = ExtentKey(row.block, extent.extent);
    const rocksdb::Slice key_part = ToSlice(key);
    const rocksdb::Slice parts[] = {{header.data(), header.size()},
                                    {reinterpret_cast<const char*>(extent.data), extent.bytes}};
    RETURN_IF_ERROR(FromRocksdb(batch.Put(extents_, {&key_part, 1}, {parts, 2}), "writing an extent"));
  }
  RETURN_IF_ERROR(FromRocksdb(batch.Put(directory_, ToSlice(BlockRowKey(row.block)), ToSlice(row.Encode())),
                              "writing a directory row"));
  return Apply(batch);
}

absl::Status RocksdbTier::WriteNamespace(const NamespaceRow& row) {
  rocksdb::WriteBatch batch;
  RETURN_IF_ERROR(FromRocksdb(batch.Put(directory_, ToSlice(NamespaceRowKey(row.id)), ToSlice(row.Encode())),
                              "writing a namespace"));
  return Apply(batch);
}

absl::Status RocksdbTier::Remove(const BlockRow& row, absl::Span<const ExtentSelector> extents) {
  rocksdb::WriteBatch batch;
  for (const ExtentSelector& extent : extents) {
    RETURN_IF_ERROR(FromRocksdb(batch.Delete(extents_, ToSlice(ExtentKey(row.block, extent))), "removing an extent"));
  }
  const std::string key = BlockRowKey(row.block);
  const bool empty = row.checksums[0].empty() && row.checksums[1].empty();
  const rocksdb::Status changed =
      empty ? batch.Delete(directory_, ToSlice(key)) : batch.Put(directory_, ToSlice(key), ToSlice(row.Encode()));
  RETURN_IF_ERROR(FromRocksdb(changed, "changing a directory row"));
  return Apply(batch);
}

absl::Status RocksdbTier::Sync() {
  rocksdb::FlushOptions options;
  options.wait = true;
  options.allow_write_stall = true;
  return Failed(FromRocksdb(db_->Flush(options, {directory_, extents_}), "flushing"));
}

absl::Status RocksdbTier::Read(const BlockKey& block, ExtentSelector extent, uint64_t checksum,
                               absl::Span<std::byte> destination) {
  rocksdb::ReadOptions options;
  options.verify_checksums = false;  // of blobs: ours covers the identity as well
  options.fill_cache = false;
  rocksdb::PinnableSlice value;
  const rocksdb::Status read = db_->Get(options, extents_, ToSlice(ExtentKey(block, extent)), &value);
  if (!read.ok()) return Failed(FromRocksdb(read, "reading an extent"));
  const std::optional<ExtentHeader> header = ExtentHeader::Decode(ToView(value));
  if (!header || header->block != block || header->extent != extent || header->bytes != destination.size() ||
      header->checksum != checksum) {
    return absl::DataLossError(absl::StrCat("the header of an extent of block ", block.hash.Hex(), " is wrong"));
  }
  std::memcpy(destination.data(), value.data() + ExtentHeader::kBytes, destination.size());
  // Of the copy: what is handed on is what was checked.
  if (ExtentChecksum({block.hash, extent.kind, extent.layer}, destination) != checksum) {
    return absl::DataLossError(absl::StrCat("the bytes of an extent of block ", block.hash.Hex(), " are wrong"));
  }
  return absl::OkStatus();
}

uint64_t RocksdbTier::budget_bytes() const {
  return options_.limit_bytes / 5 * 4;
}

uint64_t RocksdbTier::disk_bytes() const {
  uint64_t bytes = 0;
  for (rocksdb::ColumnFamilyHandle* family : {directory_, extents_}) {
    for (const std::string* property :
         {&rocksdb::DB::Properties::kTotalBlobFileSize, &rocksdb::DB::Properties::kTotalSstFilesSize,
          &rocksdb::DB::Properties::kCurSizeAllMemTables}) {
      uint64_t value = 0;
      if (db_->GetIntProperty(family, *property, &value)) bytes += value;
    }
  }
  return bytes;
}

absl::Status RocksdbTier::Compact(double age_cutoff) {
  rocksdb::CompactRangeOptions options;
  options.exclusive_manual_compaction = false;
  if (age_cutoff > 0) {
    options.blob_garbage_collection_policy = rocksdb::BlobGarbageCollectionPolicy::kForce;
    options.blob_garbage_collection_age_cutoff = age_cutoff;
    options.bottommost_level_compaction = rocksdb::BottommostLevelCompaction::kForce;
  }
  return Failed(FromRocksdb(db_->CompactRange(options, extents_, nullptr, nullptr), "compacting"));
}

std::optional<std::string> RocksdbTier::degraded() const {
  absl::MutexLock lock(&mutex_);
  return degraded_;
}

absl::Status RocksdbTier::TryRecover() {
  if (!degraded()) return absl::OkStatus();
  RETURN_IF_ERROR(Failed(FromRocksdb(db_->Resume(), "resuming")));
  // A write that goes to the disk tells.
  const StoreRow row{kStoreFormatVersion, options_.cluster_secret_id};
  RETURN_IF_ERROR(Failed(
      FromRocksdb(db_->Put(WithoutWal(), directory_, ToSlice(StoreRowKey()), ToSlice(row.Encode())), "writing again")));
  RETURN_IF_ERROR(Sync());
  absl::MutexLock lock(&mutex_);
  degraded_.reset();
  spdlog::info("the RocksDB tier works again");
  return absl::OkStatus();
}

}  // namespace droidspeak
